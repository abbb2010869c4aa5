// Sums and largest values over the WORKGROUP threads of a workgroup, by subgroups: two barriers for any size.
// Threads follow one another in subgroups, as on every GPU whose workgroups have one axis.
var<workgroup> partial: array<f32, WORKGROUP>;

fn reduce_sum(value: f32, thread: u32) -> f32 {
  let size = subgroupAdd(1u);
  let own = subgroupAdd(value);
  if (thread % size == 0u) { partial[thread / size] = own; }
  workgroupBarrier();
  var all = 0.0;
  for (var i = 0u; i < (WORKGROUP + size - 1u) / size; i++) { all += partial[i]; }
  workgroupBarrier();
  return all;
}

fn reduce_max(value: f32, thread: u32) -> f32 {
  let size = subgroupAdd(1u);
  let own = subgroupMax(value);
  if (thread % size == 0u) { partial[thread / size] = own; }
  workgroupBarrier();
  var all = partial[0];
  for (var i = 1u; i < (WORKGROUP + size - 1u) / size; i++) { all = max(all, partial[i]); }
  workgroupBarrier();
  return all;
}
