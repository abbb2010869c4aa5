// Copies an array of four axes into another order, with zeros around it, or to another type of numbers.
struct Sizes {
  count: u32, // elements of y
  y1: u32, // extents of y, the last three of four
  y2: u32,
  y3: u32,
  x0: u32, // extents of x along the axes of y
  x1: u32,
  x2: u32,
  x3: u32,
  step0: u32, // elements of x from one place to the next along the axes of y
  step1: u32,
  step2: u32,
  step3: u32,
  before1: u32, // zeros in front, along the last three axes
  before2: u32,
  before3: u32,
}
@group(0) @binding(0) var<storage, read> x: array<From>;
@group(0) @binding(1) var<storage, read_write> y: array<To>;
@group(0) @binding(2) var<uniform> sizes: Sizes;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = flat(group, groups) * WORKGROUP + thread;
  if (at >= sizes.count) { return; }
  let i0 = at / (sizes.y1 * sizes.y2 * sizes.y3);
  // zeros in front give numbers that are too large
  let i1 = at / (sizes.y2 * sizes.y3) % sizes.y1 - sizes.before1;
  let i2 = at / sizes.y3 % sizes.y2 - sizes.before2;
  let i3 = at % sizes.y3 - sizes.before3;
  var value = To(0);
  if (i0 < sizes.x0 && i1 < sizes.x1 && i2 < sizes.x2 && i3 < sizes.x3) {
    value = To(x[i0 * sizes.step0 + i1 * sizes.step1 + i2 * sizes.step2 + i3 * sizes.step3]);
  }
  y[at] = value;
}
