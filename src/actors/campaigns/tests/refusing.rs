//! Refusals on their way to the disk.

use super::*;
use crate::protocol::campaigns::respect::KnownAs;

#[tokio::test(start_paused = true)]
async fn whoever_lifts_a_refusal_notices_another_one_that_came_meanwhile() {
    let fixture = Fixture::new(1, 1).await;
    let life = fixture.live().await;
    let keys = |name: &str| life.context.keys(&KnownAs::named(&named(name)));
    let lifting = life.context.refusing(keys("@somebody"));
    assert!(lifting.is_alone());
    let mark = life.context.refusals_mark();
    assert!(!life.context.is_still_free(&keys("@somebody"), mark), "nobody acts meanwhile");
    drop(life.context.refusing(keys("@somebody_else")));
    assert!(lifting.is_alone(), "another person's is none of its business");
    drop(life.context.refusing(keys("@somebody")));
    assert!(!lifting.is_alone(), "also when the other one is durable");
    drop(lifting);
    let mark = life.context.refusals_mark();
    assert!(life.context.is_still_free(&keys("@somebody"), mark));
    assert!(life.context.refusing(keys("@somebody")).is_alone());
}
