//! Many campaigns on few accounts: whoever is more urgent goes first, nobody starves, and the accounts' own users come
//! before all of them.

use serde_json::json;
use telewarden_simulator::{FaultSpec, NewAccount};

use super::Fixture;
use crate::support::eventually;

const PEOPLE_EACH: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_campaigns_of_three_priorities_share_five_accounts() {
    let fixture = Fixture::new(5, 10 * PEOPLE_EACH).await;
    // So that accounts are what is scarce.
    let spec = FaultSpec { delay_ms: Some(60), ..FaultSpec::default() };
    fixture.fault(None, "messages.sendMessage", spec).await;
    let priorities =
        ["high", "high", "high", "normal", "normal", "normal", "normal", "low", "low", "low"];
    let mut tasks = Vec::new();
    for (number, priority) in priorities.iter().enumerate() {
        let mut body = fixture.writing();
        body["priority"] = json!(priority);
        let people = number * PEOPLE_EACH..(number + 1) * PEOPLE_EACH;
        tasks.push((fixture.draft(body, people).await, *priority));
    }
    // The least urgent first: they are overtaken.
    for (task, _) in tasks.iter().rev() {
        fixture.order(task, "start").await;
    }
    let new = NewAccount { username: Some("the_friend".into()), ..NewAccount::default() };
    let friend = fixture.harness.account(new).await;
    eventually("they are under way", async || {
        (fixture.harness.sim.contacted().await.len() >= 20).then_some(())
    })
    .await;
    let message = json!({ "to": "@the_friend", "text": "first", "timeout": 20 });
    fixture.harness.send(&fixture.user, &fixture.ids[0], None, &message).await.expect(201);
    let before = fixture.harness.sim.contacted().await;
    let of_the_friend = before.iter().position(|entry| entry.user_id == friend.user_id);
    assert!(of_the_friend.is_some(), "an account's own users go first");
    for (task, _) in &tasks {
        fixture.until(task, "completed").await;
    }
    let order: Vec<usize> = {
        let books = fixture.harness.sim.contacted().await;
        let number = |id: i64| fixture.people.iter().position(|person| person.user_id == id);
        books.iter().filter_map(|entry| number(entry.user_id)).map(|it| it / PEOPLE_EACH).collect()
    };
    assert_eq!(order.len(), 10 * PEOPLE_EACH);
    let last = |priority: &str| {
        let is_of = |task: &&usize| priorities[**task] == priority;
        order.iter().rposition(|task| is_of(&task)).unwrap()
    };
    assert!(last("high") < last("normal") && last("normal") <= last("low"), "{order:?}");
    let while_high = &order[..=last("high")];
    let share = |priority: &str| {
        let own = while_high.iter().filter(|task| priorities[**task] == priority).count();
        own as f64 / while_high.len() as f64
    };
    assert!(share("high") > 0.6, "{order:?}");
    assert!(share("low") > 0.04, "low ones keep a tenth of the time: {order:?}");
    let names: Vec<&str> = tasks.iter().map(|(task, _)| &**task).collect();
    expect_equal_turns(&order, while_high.len());
    let books = fixture.books().await;
    assert_eq!(books[&friend.user_id].len(), 1);
    for task in names {
        assert_eq!(fixture.counts(task).await["sent"], PEOPLE_EACH);
    }
    fixture.harness.expect_clean_books().await;
}

/// Campaigns that are equally urgent take turns: none of the urgent ones is far behind another.
fn expect_equal_turns(order: &[usize], end: usize) {
    let half = &order[..end / 2];
    let counts = [0, 1, 2].map(|task| half.iter().filter(|it| **it == task).count());
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= PEOPLE_EACH / 3, "{counts:?}: {order:?}");
}
