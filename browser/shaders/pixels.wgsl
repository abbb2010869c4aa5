// Where the windows of a convolution lie: one pixel of the output has one window. Vectors are pixels of one image.
struct Sizes {
  cols: u32,
  first_row: u32, // that is stored in this piece of the matrix
  end_row: u32,
  group_rows: u32, // rows of one group of channels
  x_group: u32, // elements of x from one group to the next
  pixels: u32, // of all images
  tiles: u32, // of pixels, a workgroup each
  volume: u32, // pixels of one image
  plane: u32,
  width: u32,
  x_image: u32, // elements of x from one image, plane, line or pixel of windows to the next
  x_plane: u32,
  x_line: u32,
  x_pixel: u32,
  y_image: u32, // elements of y from one image, row of the matrix or pixel to the next
  y_row: u32,
  y_pixel: u32,
  ordered: u32, // whether `order` is there
  activation: u32, // and its slope: see activate.wgsl
  slope: u32,
}

fn window_at(pixel: u32) -> u32 {
  let inside = pixel % sizes.volume;
  let spot = inside % sizes.plane;
  return (pixel / sizes.volume) * sizes.x_image + (inside / sizes.plane) * sizes.x_plane
    + (spot / sizes.width) * sizes.x_line + (spot % sizes.width) * sizes.x_pixel;
}

fn output_at(row: u32, pixel: u32) -> u32 {
  return (pixel / sizes.volume) * sizes.y_image + row * sizes.y_row + (pixel % sizes.volume) * sizes.y_pixel;
}
