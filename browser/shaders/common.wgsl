// What several kernels share.
const LOWEST = -3.4028234e38; // about the lowest f32

// The number of a workgroup in a grid that has a second axis because one axis ends at 65,535.
fn flat(group: vec3u, groups: vec3u) -> u32 {
  return group.x + group.y * groups.x;
}
