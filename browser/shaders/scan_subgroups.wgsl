// Running sums over the WORKGROUP threads of a workgroup, by subgroups: the sum of all threads up to this one.
// Threads follow one another in subgroups, as on every GPU whose workgroups have one axis.
var<workgroup> running: array<u32, WORKGROUP>;

fn scan(value: u32, thread: u32) -> u32 {
  let size = subgroupAdd(1u);
  var sum = subgroupInclusiveAdd(value);
  if (thread % size == size - 1u) { running[thread / size] = sum; }
  workgroupBarrier();
  for (var i = 0u; i < thread / size; i++) { sum += running[i]; }
  workgroupBarrier();
  return sum;
}
