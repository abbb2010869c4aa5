// Running sums over the WORKGROUP threads of a workgroup, in workgroup memory: the sum of all threads up to this one.
var<workgroup> running: array<u32, WORKGROUP>;

fn scan(value: u32, thread: u32) -> u32 {
  var sum = value;
  for (var reach = 1u; reach < WORKGROUP; reach *= 2u) {
    running[thread] = sum;
    workgroupBarrier();
    if (thread >= reach) { sum += running[thread - reach]; }
    workgroupBarrier();
  }
  return sum;
}
