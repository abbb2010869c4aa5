// Sums and largest values over the WORKGROUP threads of a workgroup (a power of two), in workgroup memory.
var<workgroup> partial: array<f32, WORKGROUP>;

fn reduce_sum(value: f32, thread: u32) -> f32 {
  partial[thread] = value;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (thread < half) { partial[thread] += partial[thread + half]; }
    workgroupBarrier();
  }
  let all = partial[0];
  workgroupBarrier();
  return all;
}

fn reduce_max(value: f32, thread: u32) -> f32 {
  partial[thread] = value;
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    if (thread < half) { partial[thread] = max(partial[thread], partial[thread + half]); }
    workgroupBarrier();
  }
  let all = partial[0];
  workgroupBarrier();
  return all;
}
