// Products of a dense matrix with few vectors. A workgroup computes one row; its threads share the columns.
struct Sizes {
  cols: u32,
  quads: u32, // a row of weights: its columns by fours, filled up with zeros
  rows: u32, // of the whole matrix
  first_row: u32, // of this piece of the matrix
  end_row: u32,
  vectors: u32,
  activation: u32, // and its slope: see activate.wgsl
  slope: u32,
}
@group(0) @binding(0) var<storage, read> x: array<Real>; // [vector][column]
@group(0) @binding(1) var<storage, read> matrix: array<vec4<Real>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Real>; // [vector][row]
@group(0) @binding(4) var<uniform> sizes: Sizes;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let local_row = flat(group, groups);
  let row = sizes.first_row + local_row;
  if (row >= sizes.end_row) { return; }
  var sums: array<f32, VECTORS>;
  for (var quad = thread; quad < sizes.quads; quad += WORKGROUP) {
    let weights = vec4f(matrix[local_row * sizes.quads + quad]);
    for (var v = 0u; v < VECTORS; v++) {
      let at = min(v, sizes.vectors - 1u) * sizes.cols + 4u * quad;
      // behind the last column there are no elements of this vector
      let left = sizes.cols - 4u * quad;
      let four = vec4f(f32(x[at]), f32(x[at + 1u]), f32(x[at + 2u]), f32(x[at + 3u]));
      sums[v] += dot(weights, select(vec4f(), four, vec4u(0u, 1u, 2u, 3u) < vec4u(left)));
    }
  }
  for (var v = 0u; v < VECTORS; v++) {
    let sum = reduce_sum(sums[v], thread);
    if (thread == 0u && v < sizes.vectors) { y[v * sizes.rows + row] = Real(activate(sum + bias[row])); }
  }
}
