// Pools of images (planes, height, width): POOL is 0 largest, 1 mean with the padding's zeros, 2 mean without them,
// 3 mean of nearly equal parts.
struct Sizes {
  count: u32, // elements of y
  height: u32, // of x
  width: u32,
  y_height: u32,
  y_width: u32,
  kernel_y: u32,
  kernel_x: u32,
  stride_y: u32,
  stride_x: u32,
  padding_y: u32,
  padding_x: u32,
}
@group(0) @binding(0) var<storage, read> x: array<Real>;
@group(0) @binding(1) var<storage, read_write> y: array<Real>;
@group(0) @binding(2) var<uniform> sizes: Sizes;

struct Span {
  begin: u32, // elements of the image
  end: u32,
  counted: u32,
}

// The window of an output along one axis.
fn span(at: u32, extent: u32, outputs: u32, kernel: u32, stride: u32, padding: u32) -> Span {
  if (POOL == 3u) {
    // at * extent / outputs, whose product may exceed 2^32; outputs are below 2^16
    let whole = extent / outputs;
    let rest = extent % outputs;
    let begin = at * whole + at * rest / outputs;
    let end = (at + 1u) * whole + ((at + 1u) * rest + outputs - 1u) / outputs;
    return Span(begin, end, end - begin);
  }
  // with the padding in front
  let first = at * stride;
  let behind = min(first + kernel, extent + 2u * padding);
  let begin = max(first, padding) - padding;
  let end = min(behind, extent + padding) - padding;
  return Span(begin, end, select(end - begin, behind - first, POOL == 1u));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = flat(group, groups) * WORKGROUP + thread;
  if (at >= sizes.count) { return; }
  let column = at % sizes.y_width;
  let line = at / sizes.y_width % sizes.y_height;
  let plane = at / sizes.y_width / sizes.y_height * sizes.height * sizes.width;
  let lines = span(line, sizes.height, sizes.y_height, sizes.kernel_y, sizes.stride_y, sizes.padding_y);
  let columns = span(column, sizes.width, sizes.y_width, sizes.kernel_x, sizes.stride_x, sizes.padding_x);
  var value = select(0.0, LOWEST, POOL == 0u);
  for (var i = lines.begin; i < lines.end; i++) {
    for (var j = columns.begin; j < columns.end; j++) {
      let one = f32(x[plane + i * sizes.width + j]);
      value = select(value + one, max(value, one), POOL == 0u);
    }
  }
  if (POOL != 0u) { value /= f32(lines.counted * columns.counted); }
  y[at] = Real(value);
}
