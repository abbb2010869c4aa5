// A lane holds one vector.
const LANE = 1u;
alias Lane = f32;
alias RealLane = Real;

fn part(lane: Lane, i: u32) -> f32 {
  return lane;
}
