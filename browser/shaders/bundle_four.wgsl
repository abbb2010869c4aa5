// A bundle holds four vectors.
const BUNDLE = 4u;
alias Bundle = vec4f;
alias RealBundle = vec4<Real>;

fn vector_of(bundle: Bundle, i: u32) -> f32 {
  return bundle[i];
}
