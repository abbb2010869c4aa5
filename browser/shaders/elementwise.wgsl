// Batch normalisation (if `scales`) and an activation, of every element, in place.
struct Sizes {
  count: u32,
  scales: u32,
  channels: u32,
  channel: u32, // elements of a channel of one image
  activation: u32, // and its slope: see activate.wgsl
  slope: u32,
}
@group(0) @binding(0) var<storage, read_write> y: array<Real>;
@group(0) @binding(1) var<storage, read> factor_term: array<vec2f>; // of each channel
@group(0) @binding(2) var<uniform> sizes: Sizes;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = flat(group, groups) * WORKGROUP + thread;
  if (at >= sizes.count) { return; }
  let scale = factor_term[at / sizes.channel % sizes.channels];
  let value = f32(y[at]);
  y[at] = Real(activate(select(value, value * scale.x + scale.y, sizes.scales != 0u)));
}
