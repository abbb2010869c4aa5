// The activation that ends a kernel: ACTIVATION is 0 none, 1 ReLU, 2 leaky ReLU, 3 sigmoid, 4 tanh.
fn activate(x: f32) -> f32 {
  switch ACTIVATION {
    case 1u: { return max(x, 0.0); }
    case 2u: { return select(x * SLOPE, x, x > 0.0); }
    case 3u: { return 1.0 / (1.0 + exp(-x)); }
    // tanh of large numbers is not a number on some GPUs
    case 4u: { return tanh(clamp(x, -20.0, 20.0)); }
    default: { return x; }
  }
}
