// exp(x) / sum(exp(x)) along one axis, in place. A workgroup computes one line of the axis.
struct Sizes {
  lines: u32,
  length: u32, // of the axis
  step: u32, // elements from one place on the axis to the next
}
@group(0) @binding(0) var<storage, read_write> y: array<Real>;
@group(0) @binding(1) var<uniform> sizes: Sizes;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let line = flat(group, groups);
  if (line >= sizes.lines) { return; }
  let first = line / sizes.step * sizes.step * sizes.length + line % sizes.step;
  var largest = LOWEST;
  for (var i = thread; i < sizes.length; i += WORKGROUP) { largest = max(largest, f32(y[first + i * sizes.step])); }
  largest = reduce_max(largest, thread);
  var sum = 0.0;
  for (var i = thread; i < sizes.length; i += WORKGROUP) { sum += exp(f32(y[first + i * sizes.step]) - largest); }
  sum = reduce_sum(sum, thread);
  for (var i = thread; i < sizes.length; i += WORKGROUP) {
    let at = first + i * sizes.step;
    y[at] = Real(exp(f32(y[at]) - largest) / sum);
  }
}
