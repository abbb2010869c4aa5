// A lane holds four vectors.
const LANE = 4u;
alias Lane = vec4f;
alias RealLane = vec4<Real>;

fn part(lane: Lane, i: u32) -> f32 {
  return lane[i];
}
