// Convolutions from dense rows, and products of a dense matrix with many vectors: tiles of TILE rows x TILE pixels,
// DEPTH columns at a time in workgroup memory. A thread computes 4 x 4 sums. Tiles do not cross groups of channels.
@group(0) @binding(0) var<storage, read> x: array<Real>;
@group(0) @binding(1) var<storage, read> matrix: array<vec4<Real>>; // rows by fours, filled up with zeros
@group(0) @binding(2) var<storage, read> offsets: array<u32>; // of a column's element from the window's first
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<Real>;
@group(0) @binding(5) var<uniform> sizes: Sizes;

const DEPTH = 16u;
const SIDE = TILE / 4u;
const THREADS = SIDE * SIDE;
var<workgroup> row_tile: array<f32, TILE * DEPTH>; // [column][row]
var<workgroup> pixel_tile: array<f32, TILE * DEPTH>; // [column][pixel]

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = flat(group, groups);
  let row_tiles = (min(sizes.group_rows, sizes.end_row - sizes.first_row) + TILE - 1u) / TILE;
  let first_pixel = (number % sizes.tiles) * TILE;
  let of_group = number / sizes.tiles / row_tiles;
  let first_row = of_group * sizes.group_rows + (number / sizes.tiles % row_tiles) * TILE; // in this piece
  let end_row = min((of_group + 1u) * sizes.group_rows, sizes.end_row - sizes.first_row);
  let x_group = (sizes.first_row + first_row) / sizes.group_rows * sizes.x_group;
  let quads = (sizes.cols + 3u) / 4u;
  // a thread loads elements of one pixel only
  let window = window_at(min(first_pixel + thread % TILE, sizes.pixels - 1u)) + x_group;
  let row = thread / SIDE;
  let pixel = thread % SIDE;
  var sums: array<vec4f, 4>;
  for (var column = 0u; column < sizes.cols; column += DEPTH) {
    for (var i = thread; i < TILE * DEPTH / 4u; i += THREADS) {
      let loaded = first_row + i / (DEPTH / 4u);
      let quad = column / 4u + i % (DEPTH / 4u);
      var four = vec4f();
      if (loaded < end_row && quad < quads) { four = vec4f(matrix[loaded * quads + quad]); }
      for (var c = 0u; c < 4u; c++) {
        row_tile[(i % (DEPTH / 4u) * 4u + c) * TILE + i / (DEPTH / 4u)] = four[c];
      }
    }
    for (var i = thread / TILE; i < DEPTH; i += THREADS / TILE) {
      var one = 0.0;
      if (column + i < sizes.cols) { one = f32(x[window + offsets[column + i]]); }
      pixel_tile[i * TILE + thread % TILE] = one;
    }
    workgroupBarrier();
    for (var i = 0u; i < DEPTH; i++) {
      let at = i * TILE + 4u * pixel;
      let four = vec4f(pixel_tile[at], pixel_tile[at + 1u], pixel_tile[at + 2u], pixel_tile[at + 3u]);
      for (var r = 0u; r < 4u; r++) { sums[r] += row_tile[i * TILE + 4u * row + r] * four; }
    }
    workgroupBarrier();
  }
  for (var r = 0u; r < 4u; r++) {
    let out = first_row + 4u * row + r;
    for (var p = 0u; p < 4u; p++) {
      let at = first_pixel + 4u * pixel + p;
      if (out < end_row && at < sizes.pixels) {
        let whole = sizes.first_row + out;
        y[output_at(whole, at)] = Real(activate(sums[r][p] + bias[whole]));
      }
    }
  }
}
