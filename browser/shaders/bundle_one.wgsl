// A bundle holds one vector.
const BUNDLE = 1u;
alias Bundle = f32;
alias RealBundle = Real;

fn vector_of(bundle: Bundle, i: u32) -> f32 {
  return bundle;
}
