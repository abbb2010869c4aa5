// The activation that ends a kernel: `activation` is 0 none, 1 ReLU, 2 leaky ReLU, 3 sigmoid, 4 tanh; `slope` are the
// bits of leaky ReLU's factor.
fn activate(x: f32) -> f32 {
  switch sizes.activation {
    case 1u: { return max(x, 0.0); }
    case 2u: { return select(x * bitcast<f32>(sizes.slope), x, x > 0.0); }
    case 3u: { return 1.0 / (1.0 + exp(-x)); }
    // tanh of large numbers is not a number on some GPUs
    case 4u: { return tanh(clamp(x, -20.0, 20.0)); }
    default: { return x; }
  }
}
