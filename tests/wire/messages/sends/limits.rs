//! What holds messages back: Telegram's waits and refusals, and our own limits.

use super::*;
use crate::logins::connecting::SESSION;
use crate::support::id_of;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_flood_wait_is_told_and_kept_and_the_message_leaves_after_it() {
    let scene = SendScene::set().await;
    scene.refuse("FLOOD_WAIT_6").await;
    let begun = Instant::now();
    let brief = json!({ "to": "@the_friend", "text": "patience", "timeout": 2 });
    let refused =
        scene.order(Some("the-key"), brief.clone()).await.expect_problem(429, "TG_API_429");
    let wait = refused.retry_after();
    assert!((5..=8).contains(&wait), "{wait}");
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits longer than they said");
    let status = scene.status().await;
    assert_eq!(status["state"], "cooling_down", "{status:#}");
    assert_eq!(status["cooldowns"][0]["scope"], "send");
    // Whoever asks meanwhile is told the same, and Telegram is not called.
    scene.order(Some("the-key"), brief.clone()).await.expect_problem(429, "TG_API_429");
    scene.order(None, brief.clone()).await.expect_problem(429, "TG_API_429");
    assert_eq!(scene.calls().await, 1);
    let patient = json!({ "to": "@the_friend", "text": "patience", "timeout": 20 });
    scene.order(Some("the-key"), patient).await.expect(201);
    assert!(begun.elapsed() >= Duration::from_secs(6));
    assert_eq!(scene.calls().await, 2);
    scene.expect_received(&["patience"]).await;
    scene.harness.until_state(&scene.user, &scene.id, "active").await;
    scene.harness.expect_clean_books().await;
}

/// It comes when the caller's time is over: certainly nothing was sent, and nothing is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_refusal_is_not_sent_and_gives_the_days_count_back() {
    let scene = SendScene::set().await;
    let brief = json!({ "to": "@the_friend", "text": "late", "timeout": 1 });
    scene.send(None, "first").await.expect(201);
    for error in ["FLOOD_WAIT_4", "USER_PRIVACY_RESTRICTED", "PEER_ID_INVALID"] {
        let (key, calls) = (Some(error), scene.calls().await);
        let late = FaultSpec {
            error: Some(error.into()),
            delay_ms: Some(2_500),
            times: Some(1),
            ..FaultSpec::default()
        };
        scene.fault(late).await;
        scene.order(key, brief.clone()).await.expect_problem(503, "TG_UNAVAILABLE");
        assert_eq!(scene.status().await["caps"][0]["used"], 2, "it may be sent yet");
        let status = eventually("it is given back", async || {
            let status = scene.status().await;
            (status["caps"][0]["used"] == 1).then_some(status)
        })
        .await;
        assert_eq!(scene.calls().await, calls + 1);
        if error.starts_with("FLOOD_WAIT") {
            assert_eq!(status["state"], "cooling_down", "{status:#}");
            let refused = scene.order(key, brief.clone()).await;
            let refused = refused.expect_problem(429, "TG_API_429");
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(detail.ends_with("nothing was sent"), "{detail}");
            assert_eq!(scene.status().await["caps"][0]["used"], 1);
            scene.harness.until_state(&scene.user, &scene.id, "active").await;
        }
    }
    scene.expect_received(&["first"]).await;
    let patient = json!({ "to": "@the_friend", "text": "late", "timeout": 20 });
    scene.order(Some("USER_PRIVACY_RESTRICTED"), patient).await.expect(201);
    scene.expect_received(&["first", "late"]).await;
    assert_eq!(scene.status().await["caps"][0]["used"], 2);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_measured_without_its_markup() {
    let scene = SendScene::set().await;
    let order = async |text: String, mode: Option<&str>| {
        let message = json!({ "to": "@the_friend", "text": text, "parse_mode": mode });
        scene.order(None, message).await
    };
    order(format!("{}**bold**", "x".repeat(4_092)), Some("markdown")).await.expect(201);
    order(format!("{}<b>bold</b>", "y".repeat(4_092)), Some("html")).await.expect(201);
    order(format!("{}&lt;", "z".repeat(4_095)), Some("html")).await.expect(201);
    let lengths: Vec<_> = scene.received().await.iter().map(String::len).collect();
    assert_eq!(lengths, [4_096, 4_096, 4_096]);
    for (text, mode) in [
        (format!("{}**bold**", "x".repeat(4_093)), Some("markdown")),
        (format!("{}**bold**", "x".repeat(4_090)), None),
        ("**b** ".repeat(101), Some("markdown")),
        ("<b></b>".to_owned(), Some("html")),
        ("x".repeat(20_481), Some("html")),
    ] {
        let refused = order(text, mode).await.expect_problem(422, "VALIDATION");
        assert_eq!(refused.body["errors"][0]["field"], "text", "{refused:?}");
    }
    order("**b** ".repeat(100), Some("markdown")).await.expect(201);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_flood_wait_only_takes_that_long() {
    let scene = SendScene::set().await;
    scene.refuse("FLOOD_WAIT_2").await;
    let begun = Instant::now();
    scene.send(None, "after a while").await.expect(201);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    scene.expect_received(&["after a while"]).await;
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_mode_holds_one_chat_and_no_other() {
    let scene = SendScene::set().await;
    let slow = scene.supergroup(&[scene.account.user_id]).await;
    let rules = ChatRules { slowmode_seconds: Some(30), ..ChatRules::default() };
    scene.harness.sim.set_rules(slow, rules).await.unwrap();
    let to_slow = json!({ "to": slow.to_string(), "text": "slowly", "timeout": 2 });
    scene.order(None, to_slow.clone()).await.expect(201);
    let refused = scene.order(None, to_slow.clone()).await.expect_problem(429, "TG_API_429");
    assert!((20..=32).contains(&refused.retry_after()), "{refused:?}");
    let tells_of_the_chat = |refused: &Answer| {
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("to this chat") && detail.contains("nothing was sent"), "{detail}");
    };
    tells_of_the_chat(&refused);
    let status = scene.status().await;
    assert_eq!(status["state"], "active", "the account does not wait: {status:#}");
    assert_eq!(status["cooldowns"][0]["scope"], format!("chat {slow}"), "{status:#}");
    scene.send(None, "at once").await.expect(201);
    scene.expect_received(&["at once"]).await;
    let before = scene.calls().await;
    let again = scene.order(None, to_slow).await.expect_problem(429, "TG_API_429");
    assert!((15..=32).contains(&again.retry_after()), "{again:?}");
    tells_of_the_chat(&again);
    assert_eq!(scene.calls().await, before, "the chat's wait is kept");
    assert_eq!(scene.harness.sim.messages(slow).await.unwrap().len(), 1);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_telegram_limits_rests_and_says_until_when() {
    let scene = SendScene::set().await;
    scene.refuse("PEER_FLOOD").await;
    let brief = json!({ "to": "@the_friend", "text": "too much", "timeout": 2 });
    scene.order(None, brief.clone()).await.expect_problem(429, "TG_API_429");
    let status = scene.harness.until_state(&scene.user, &scene.id, "limited").await;
    assert!(status["cooldowns"][0]["until"].is_string(), "{status:#}");
    let refused = scene.order(None, brief).await.expect_problem(429, "TG_API_429");
    assert!(refused.retry_after() > 60);
    assert_eq!(scene.calls().await, 1, "it rests");
    scene.expect_received(&[]).await;
}

/// A freeze was read as a wait of 60 s, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_telegram_has_frozen_says_what_its_owner_can_do_and_is_not_asked_again() {
    let mut scene = SendScene::set().await;
    scene.harness.sim.freeze(scene.account.user_id, true).await.unwrap();
    let refused = scene.send(None, "cold").await.expect_problem(409, "CONFLICT");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("FROZEN_METHOD_INVALID") && detail.contains("appeal"), "{detail}");
    assert_eq!(refused.header("retry-after"), None, "waiting does not help");
    assert_eq!(scene.status().await["caps"][0]["used"], 0, "nothing was sent");
    for _ in 0..2 {
        let status = scene.harness.until_state(&scene.user, &scene.id, "limited").await;
        assert_eq!(status["error"]["code"], "CONFLICT", "{status:#}");
        let detail = status["error"]["detail"].as_str().unwrap();
        assert!(detail.contains("FROZEN_METHOD_INVALID"), "{status:#}");
        assert!(status["next"].as_str().unwrap().contains("appeal"), "{status:#}");
        let (_, health) = scene.harness.daemon.get("/health").await.unwrap();
        assert_eq!(health["status"], "degraded");
        scene.send(None, "colder").await.expect_problem(409, "CONFLICT");
        assert_eq!(scene.calls().await, 1, "it is known, also after a restart");
        scene.harness.kill().await;
        scene.harness.daemon.spawn().await;
    }
    scene.harness.until_state(&scene.user, &scene.id, "limited").await;
    // A look says that it still is.
    let reconnect = format!("/accounts/{}/reconnect", scene.id);
    scene.user.ask("POST", &reconnect, None).await.expect(200);
    eventually("it is looked at", async || {
        let books = scene.harness.books(&scene.account).await;
        books.methods.contains_key("help.getAppConfig").then_some(())
    })
    .await;
    scene.send(None, "still cold").await.expect_problem(409, "CONFLICT");
    scene.harness.sim.freeze(scene.account.user_id, false).await.unwrap();
    scene.user.ask("POST", &reconnect, None).await.expect(200);
    scene.harness.until_state(&scene.user, &scene.id, "active").await;
    eventually("it may send", async || {
        (scene.send(Some("warm"), "warm").await.status == 201).then_some(())
    })
    .await;
    scene.expect_received(&["warm"]).await;
    let lines = scene.harness.daemon.log_lines();
    for what in ["telegram has frozen this account", "telegram has lifted the freeze"] {
        let is_it = |line: &&Value| line.to_string().contains(what);
        let line = lines.iter().find(is_it).expect("it is logged");
        assert!(line.to_string().contains(&scene.id), "by the id that the API takes: {line:#}");
    }
    scene.harness.expect_clean_books().await;
}

/// It is the person's account that is frozen, whatever session it is connected by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_connected_once_more_is_frozen_as_before() {
    let mut scene = SendScene::set().await;
    scene.harness.sim.freeze(scene.account.user_id, true).await.unwrap();
    scene.send(None, "cold").await.expect_problem(409, "CONFLICT");
    let known = scene.account.session_string.clone().unwrap();
    let another = scene.harness.sim.add_session(scene.account.user_id).await.unwrap();
    for session in [known, another] {
        let session = json!({ "session_string": session });
        let connected = scene.user.post(SESSION, session).await.expect(201);
        assert_eq!(id_of(&connected), scene.id, "it is the same account");
        for _ in 0..2 {
            let status = scene.harness.until_state(&scene.user, &scene.id, "limited").await;
            let detail = status["error"]["detail"].as_str().unwrap();
            assert!(detail.contains("FROZEN_METHOD_INVALID"), "{status:#}");
            assert!(status["next"].as_str().unwrap().contains("appeal"), "{status:#}");
            assert_eq!(status["cooldowns"], json!([]), "no wait is made up: {status:#}");
            let refused = scene.send(None, "colder").await.expect_problem(409, "CONFLICT");
            assert_eq!(refused.header("retry-after"), None, "waiting does not help");
            scene.harness.kill().await;
            scene.harness.daemon.spawn().await;
        }
    }
    assert_eq!(scene.calls().await, 1, "it is known");
    scene.harness.until_state(&scene.user, &scene.id, "limited").await;
    scene.harness.sim.freeze(scene.account.user_id, false).await.unwrap();
    let reconnect = format!("/accounts/{}/reconnect", scene.id);
    scene.user.ask("POST", &reconnect, None).await.expect(200);
    scene.harness.until_state(&scene.user, &scene.id, "active").await;
    eventually("it may send", async || {
        (scene.send(Some("warm"), "warm").await.status == 201).then_some(())
    })
    .await;
    scene.expect_received(&["warm"]).await;
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_chats_may_refuse_and_the_account_goes_on() {
    let scene = SendScene::set().await;
    let privacy =
        Privacy { refuse_messages: Some("USER_PRIVACY_RESTRICTED".into()), ..Privacy::default() };
    scene.harness.sim.set_privacy(scene.friend.user_id, privacy).await.unwrap();
    scene.send(None, "hello?").await.expect_problem(422, "TG_TARGET_REFUSED");
    let open = Privacy::default();
    scene.harness.sim.set_privacy(scene.friend.user_id, open).await.unwrap();
    let quiet = scene.supergroup(&[scene.account.user_id]).await;
    let rules = ChatRules { members_may_post: Some(false), ..ChatRules::default() };
    scene.harness.sim.set_rules(quiet, rules).await.unwrap();
    let to_quiet = scene.send_to(&quiet.to_string(), None, "hello?").await;
    to_quiet.expect_problem(403, "TG_CHAT_FORBIDDEN");
    scene.send(None, "hello").await.expect(201);
    scene.expect_received(&["hello"]).await;
    assert_eq!(scene.harness.sim.messages(quiet).await.unwrap(), []);
    assert_eq!(scene.status().await["state"], "active");
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daily_cap_survives_a_kill() {
    let limits = format!("{MORE_SENDS}per_day = 3\n");
    let mut scene = SendScene::set_with(&limits).await;
    for number in 1..=2 {
        scene.send(None, &number.to_string()).await.expect(201);
    }
    scene.harness.kill().await;
    scene.harness.daemon.spawn().await;
    scene.harness.until_state(&scene.user, &scene.id, "active").await;
    scene.send(Some("the-key"), "3").await.expect(201);
    for _ in 0..2 {
        let refused = scene.send(None, "4").await.expect_problem(429, "RATE_LIMITED");
        assert!(refused.retry_after() <= 24 * 60 * 60);
        scene.harness.kill().await;
        scene.harness.daemon.spawn().await;
        scene.harness.until_state(&scene.user, &scene.id, "active").await;
    }
    // What was sent is no new message.
    scene.send(Some("the-key"), "3").await.expect(201);
    let cap = &scene.status().await["caps"][0];
    assert_eq!((&cap["used"], &cap["limit"]), (&json!(3), &json!(3)), "{cap}");
    scene.expect_received(&["1", "2", "3"]).await;
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_leaves_at_once_and_the_rest_at_the_accounts_rate() {
    let limits = "[telegram.limits.send]\nper_minute = 30\nburst = 3\n";
    let scene = SendScene::set_with(limits).await;
    let begun = Instant::now();
    let requests = (0..12).map(|number| {
        scene.order(None, json!({ "to": "@the_friend", "text": number.to_string(), "timeout": 5 }))
    });
    let answers = futures_util::future::join_all(requests).await;
    let mut sent = Vec::new();
    for (number, answer) in answers.into_iter().enumerate() {
        if answer.status == 201 {
            sent.push(number.to_string());
        } else {
            assert!(answer.expect_problem(429, "RATE_LIMITED").retry_after() >= 1);
        }
    }
    assert_eq!(
        scene.harness.calls_of("contacts.resolveUsername").await,
        1,
        "they share one lookup"
    );
    // Three at once and one every two seconds of five.
    assert!((4..=6).contains(&sent.len()), "{sent:?} in {:?}", begun.elapsed());
    let mut received = scene.received().await;
    received.sort();
    sent.sort();
    assert_eq!(received, sent, "what was refused was not sent");
    let used = &scene.status().await["caps"][0]["used"];
    assert_eq!(*used, json!(sent.len()), "what was not sent does not count");
    // Nor does it leave later.
    scene
        .order(None, json!({ "to": "@the_friend", "text": "last", "timeout": 20 }))
        .await
        .expect(201);
    assert_eq!(scene.received().await.len(), sent.len() + 1);
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_again_after_a_message_that_may_have_been_sent_counts_once() {
    let scene = SendScene::set_with(&format!("{MORE_SENDS}per_day = 1\n")).await;
    scene.harness.until_state(&scene.user, &scene.id, "active").await;
    // The name is looked up before, so that the second is the message's own.
    scene.send_to("@nobody_is_called_this", None, "?").await;
    let (kind, delay_ms) = (Some(FaultKind::LoseAnswer), Some(1_500));
    scene.fault(FaultSpec { kind, delay_ms, times: Some(1), ..FaultSpec::default() }).await;
    let message = |timeout| json!({ "to": "@the_friend", "text": "once", "timeout": timeout });
    let unclear = scene.order(Some("the-key"), message(1)).await;
    unclear.expect_problem(503, "TG_UNAVAILABLE");
    eventually("its outcome is told", async || {
        let again = scene.order(Some("the-key"), message(1)).await;
        (again.status == 201).then_some(())
    })
    .await;
    scene.expect_received(&["once"]).await;
    assert_eq!(scene.status().await["caps"][0]["used"], 1);
    scene.send(None, "another").await.expect_problem(429, "RATE_LIMITED");
    scene.harness.expect_clean_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_an_account_that_is_paused_meanwhile_is_refused_and_not_waited_out() {
    let scene = SendScene::set().await;
    scene.refuse("FLOOD_WAIT_8").await;
    let patient = json!({ "to": "@the_friend", "text": "late", "timeout": 25 });
    let pause = async {
        scene.harness.until_state(&scene.user, &scene.id, "cooling_down").await;
        let path = format!("/accounts/{}/pause", scene.id);
        scene.user.ask("POST", &path, None).await.expect(200);
        Instant::now()
    };
    let sending = async {
        let answer = scene.order(Some("the-key"), patient).await;
        (answer, Instant::now())
    };
    let ((answer, answered), paused) = tokio::join!(sending, pause);
    answer.expect_problem(409, "CONFLICT");
    assert!(answered < paused + Duration::from_secs(5), "{:?}", answered - paused);
    assert_eq!(scene.status().await["caps"][0]["used"], 0);
    scene.expect_received(&[]).await;
    scene.harness.expect_clean_books().await;
}
