//! Messages that libraries do not write, but that a broker takes: the consumer goes on, and each
//! is put aside as it came.

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, MAX_NESTING};
use telewarden::edge::amqp::{AmqpOptions, LinkSnapshot, LinkState};
use telewarden::protocol::bridge::reply_to::is_usable;
use tokio::time::timeout;

use super::publishing::FATAL_REPLY_TO;
use super::raw::{
    Properties, Raw, TEXTS, holds, nested_arrays, nested_tables, short, table_value, text_value,
};
use super::support::{
    Admin, Broker, PATIENCE, Running, Sink, eventually, options, shared_url, status_where,
};

const BODY: &[u8] = br#"{"command":"stop_monitoring_chat","chat_id":1}"#;

/// A consumer, and who publishes to it.
struct Scene {
    options: AmqpOptions,
    sink: Sink,
    link: Running,
    up_since: telewarden::protocol::values::ids::UnixMillis,
    admin: Admin,
    raw: Raw,
}

impl Scene {
    async fn at(url: &str) -> Self {
        let (options, sink) = (options(url), Sink::default());
        let link = Running::consumer(&options, &sink);
        link.wait_until_up().await;
        let up_since = link.status.snapshot().since;
        let (admin, raw) = (Admin::of(url).await, Raw::of(url).await);
        Self { options, sink, link, up_since, admin, raw }
    }

    async fn publish(&mut self, properties: &Properties) {
        self.raw.publish(&self.options.exchange, b"command", properties, BODY).await;
    }

    /// The dead letter of what was published: its properties.
    async fn letter(&mut self) -> Vec<u8> {
        let (properties, body) = self.raw.take(&self.options.dead_queue()).await;
        assert_eq!(body, BODY, "the body is kept");
        properties
    }

    /// The consumer takes commands over the same connection as ever.
    async fn goes_on(self) {
        self.admin.stop_chat(&self.options, 77).await;
        eventually("the next command", async || {
            self.sink.chats().last().is_some_and(|chat| chat == "77").then_some(())
        })
        .await;
        let status = self.link.status.snapshot();
        assert_eq!((status.state, status.since), (LinkState::Up, self.up_since), "{status:?}");
        self.link.stopped().await;
        assert_eq!(self.admin.depth(&self.options.command_queue).await, 0);
    }
}

#[tokio::test]
async fn headers_nested_as_deep_as_a_frame_allows_are_put_aside_as_they_came() {
    let mut scene = Scene::at(&shared_url()).await;
    let deep = [
        nested_arrays(MAX_NESTING),
        nested_tables(MAX_NESTING),
        nested_arrays(1_300),
        nested_tables(1_300),
        nested_arrays(26_000),
        nested_tables(21_000),
    ];
    for value in &deep {
        let properties = Properties::default()
            .headers(&[(b"x-deep", value.clone()), (b"x-mine", text_value(b"kept"))])
            .text("correlation_id", b"42");
        scene.publish(&properties).await;
        let letter = scene.letter().await;
        assert!(holds(&letter, &[short(b"x-deep"), value.clone()].concat()), "as it came");
        assert!(holds(&letter, b"x-mine") && holds(&letter, &short(b"42")));
        assert!(holds(&letter, &text_value(b"bad_properties")));
        assert!(holds(&letter, b"a header is nested deeper than 32"));
    }
    // The table of headers itself is one level, so this is as deep as they may be.
    let allowed = Properties::default().headers(&[
        (b"x-arrays", nested_arrays(MAX_NESTING - 1)),
        (b"x-tables", nested_tables(MAX_NESTING - 1)),
    ]);
    scene.publish(&allowed).await;
    assert_eq!(scene.sink.wait_for(1).await, ["1"]);
    scene.goes_on().await;
}

#[tokio::test]
async fn texts_that_are_not_utf8_are_put_aside_as_they_came_whichever_they_are() {
    let mut scene = Scene::at(&shared_url()).await;
    let foreign: [&[u8]; 3] = [b"\xff\xfe", b"half of \xc3", &[0x80; 255]];
    for (name, _) in TEXTS {
        for text in foreign {
            scene.publish(&Properties::default().text(name, text)).await;
            let letter = scene.letter().await;
            let said = format!("the property `{name}` is not UTF-8");
            assert!(holds(&letter, said.as_bytes()), "{name}");
            assert!(holds(&letter, &text_value(b"bad_properties")));
            assert!(holds(&letter, &short(text)), "{name} as it came");
        }
    }
    let names = [
        vec![(&b"\xff"[..], text_value(b"x"))],
        vec![(&b"x"[..], table_value(b"\xfe", text_value(b"x")))],
    ];
    for headers in names {
        scene.publish(&Properties::default().headers(&headers)).await;
        let letter = scene.letter().await;
        assert!(holds(&letter, b"the name of a header is not UTF-8"));
        assert!(holds(&letter, &headers[0].1), "as it came");
    }
    // RabbitMQ takes no binding with such a key, but messages of whoever is bound with a pattern.
    let (queue, topic) =
        (scene.options.command_queue.clone(), format!("{}-t", scene.options.exchange));
    scene.admin.exchange(&topic, lapin::ExchangeKind::Topic).await;
    scene.raw.bind(&queue, &topic, b"#").await;
    scene.raw.publish(&topic, b"\xff\xff", &Properties::default(), BODY).await;
    assert!(holds(&scene.letter().await, b"the routing key is not UTF-8"));
    // Texts that are UTF-8 are none of this, whatever they say; nor are values.
    let fine = Properties::default()
        .text("correlation_id", "zw\u{f6}lf \u{10f7ff} \u{fffd}".as_bytes())
        .headers(&[("\u{e9}".as_bytes(), text_value(b"\xff\xfe"))]);
    scene.publish(&fine).await;
    assert_eq!(scene.sink.wait_for(1).await, ["1"]);
    scene.goes_on().await;
}

#[tokio::test]
async fn whoever_waits_under_an_id_that_is_not_utf8_is_told_under_that_id() {
    let mut scene = Scene::at(&shared_url()).await;
    let answers = format!("answers-{}", scene.options.exchange);
    scene.admin.queue(&answers, false, lapin::types::FieldTable::default()).await;
    let id = [0x9f; 16];
    let properties =
        Properties::default().text("reply_to", answers.as_bytes()).text("correlation_id", &id);
    scene.publish(&properties).await;
    assert!(holds(&scene.letter().await, &short(&id)));
    let (properties, body) = scene.raw.take(&answers).await;
    assert!(holds(&properties, &short(&id)), "{properties:?}");
    assert!(String::from_utf8(body).unwrap().contains("bad_properties"));
    scene.admin.delete_queue(&answers).await;
    scene.goes_on().await;
}

#[tokio::test]
async fn a_reply_to_that_is_no_name_of_the_brokers_is_put_aside_once_over_the_same_connection() {
    let mut scene = Scene::at(&shared_url()).await;
    for body in [BODY, b"not json at all"] {
        let name = b"amq.rabbitmq.reply-to.x.y";
        let properties = Properties::default().text("reply_to", name);
        scene.raw.publish(&scene.options.exchange, b"command", &properties, body).await;
        let (letter, kept) = scene.raw.take(&scene.options.dead_queue()).await;
        assert_eq!(kept, body);
        assert!(holds(&letter, &text_value(b"bad_properties")) && holds(&letter, &short(name)));
    }
    let misrouted = Properties::default().text("reply_to", b"amq.rabbitmq.reply-to.x.y");
    let (exchange, queue) = (scene.options.exchange.clone(), scene.options.command_queue.clone());
    scene.raw.bind(&queue, &exchange, b"event").await;
    scene.raw.publish(&exchange, b"event", &misrouted, BODY).await;
    assert!(holds(&scene.letter().await, &text_value(b"misrouted")));
    let status = scene.link.status.clone();
    let dead = scene.options.dead_queue();
    scene.goes_on().await;
    assert_eq!(status.snapshot().dead_lettered, 3);
    let admin = Admin::of(&shared_url()).await;
    assert_eq!(admin.depth(&dead).await, 0, "one letter each");
}

#[tokio::test]
async fn a_reply_that_the_broker_ends_the_connection_over_brings_no_second_letter() {
    let mut scene = Scene::at(&shared_url()).await;
    let bad = b"not json at all";
    let properties = Properties::default().text("reply_to", FATAL_REPLY_TO.as_bytes());
    for count in 1..=3 {
        let before = scene.link.status.snapshot().since;
        scene.raw.publish(&scene.options.exchange, b"command", &properties, bad).await;
        let (letter, _) = scene.raw.take(&scene.options.dead_queue()).await;
        assert!(holds(&letter, &text_value(b"bad_json")));
        let is_back =
            |status: &LinkSnapshot| status.state == LinkState::Up && status.since > before;
        status_where(&scene.link.status, "another connection", is_back).await;
        // Had the delivery come again, it would stand before this command.
        scene.admin.stop_chat(&scene.options, count).await;
        assert_eq!(scene.sink.wait_for(count as usize).await.last(), Some(&count.to_string()));
    }
    let (dead, queue) = (scene.options.dead_queue(), scene.options.command_queue.clone());
    assert_eq!(scene.link.stopped().await.dead_lettered, 3);
    assert_eq!((scene.admin.depth(&dead).await, scene.admin.depth(&queue).await), (0, 0));
}

#[tokio::test]
async fn whoever_waits_by_direct_reply_to_hears_of_what_is_taken_and_of_what_is_not() {
    let scene = Scene::at(&shared_url()).await;
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let (queue, tag) = ("amq.rabbitmq.reply-to".into(), "".into());
    let answers = scene.admin.channel.basic_consume(queue, tag, options, FieldTable::default());
    let mut answers = answers.await.unwrap();
    let asked = BasicProperties::default().with_reply_to("amq.rabbitmq.reply-to".into());
    scene.admin.command(&scene.options, BODY, asked.clone()).await;
    assert_eq!(scene.sink.wait_for(1).await, ["1"]);
    let name = scene.sink.taken()[0].reply.clone().unwrap().queue;
    assert!(name.starts_with("amq.rabbitmq.reply-to.") && is_usable(&name), "{name}");
    scene.admin.command(&scene.options, b"not json at all", asked).await;
    let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
    assert!(String::from_utf8(answer.data).unwrap().contains("bad_json"));
    scene.goes_on().await;
}

#[tokio::test]
async fn headers_that_nearly_fill_a_frame_are_put_aside_and_what_does_not_fit_is_told() {
    let mut scene = Scene::at(&shared_url()).await;
    let bad = b"not json at all";
    let (mut kept, mut left_out) = (0, 0);
    // A header frame of 131,072 bytes holds 131,029 of the value; RabbitMQ takes 8 more.
    let sizes = (130_700..131_030).step_by(30).chain(130_850..130_930).chain(131_020..=131_037);
    for bytes in sizes {
        let headers: [(&[u8], _); 2] =
            [(b"x-big", text_value(&vec![b'x'; bytes])), (b"", text_value(b""))];
        let properties = Properties::default().headers(&headers);
        scene.raw.publish(&scene.options.exchange, b"command", &properties, bad).await;
        let (letter, body) = scene.raw.take(&scene.options.dead_queue()).await;
        assert_eq!(body, bad);
        assert!(8 + 12 + letter.len() <= 131_072, "{bytes}: {}", letter.len());
        if holds(&letter[..200], b"x-big") {
            kept += 1;
            assert!(!holds(&letter[letter.len() - 400..], b"left out"));
        } else {
            left_out += 1;
            let said = format!("1 of its headers, {} bytes in all", bytes + 11);
            assert!(holds(&letter, said.as_bytes()), "{}", String::from_utf8_lossy(&letter));
            // With one byte more of room it would have been kept.
            assert!(8 + 12 + letter.len() + bytes + 11 > 131_072);
        }
    }
    assert!(kept > 20 && left_out > 20, "{kept} kept, {left_out} left out");
    scene.goes_on().await;
}

#[tokio::test]
async fn headers_larger_than_the_frames_that_the_broker_allows_now_are_read_and_put_aside() {
    let broker = Broker::start().await;
    let mut scene = Scene::at(&broker.url).await;
    scene.link.ask_to_stop();
    status_where(&scene.link.status, "stopped", |status| status.state == LinkState::Stopped).await;
    let headers: [(&[u8], _); 2] =
        [(b"x-big", text_value(&vec![b'x'; 131_000])), (b"x-mine", text_value(b"kept"))];
    let properties = Properties::default().headers(&headers).text("message_id", b"theirs");
    let bad = b"not json at all";
    scene.raw.publish(&scene.options.exchange, b"command", &properties, bad).await;
    for frame_max in ["4096", "8192"] {
        let set = format!("application:set_env(rabbit, frame_max, {frame_max}).");
        broker.ctl(&["eval", &set]).await;
        let link = Running::consumer(&scene.options, &scene.sink);
        status_where(&link.status, "put aside", |status| status.dead_lettered == 1).await;
        assert_eq!(link.status.snapshot().state, LinkState::Up);
        link.stopped().await;
        let (letter, body) = scene.raw.take(&scene.options.dead_queue()).await;
        assert_eq!(body, bad);
        assert!(letter.len() < 4_000 && holds(&letter, b"theirs") && holds(&letter, b"x-mine"));
        assert!(holds(&letter, format!("broker's ({frame_max} bytes)").as_bytes()));
        scene.raw.publish(&scene.options.exchange, b"command", &properties, bad).await;
    }
}

#[tokio::test]
async fn headers_larger_than_any_buffer_are_passed_over_and_the_message_is_put_aside() {
    let broker = Broker::start().await;
    let mut scene = Scene::at(&broker.url).await;
    broker.ctl(&["eval", "application:set_env(rabbit, frame_max, 16777216)."]).await;
    let mut raw = Raw::with_frames(&broker.url, 16 << 20).await;
    let bad = b"not json at all";
    // The library's buffers hold 4 MiB; up to 256 KiB it reads such a frame.
    for bytes in [200_000, 262_000, 263_000, 4_190_000, 4_200_000, 9_000_000, 16_000_000] {
        let headers: [(&[u8], _); 1] = [(b"x-big", text_value(&vec![b'x'; bytes]))];
        let properties = Properties::default()
            .headers(&headers)
            .text("content_type", b"text/json")
            .text("message_id", b"theirs");
        raw.publish(&scene.options.exchange, b"command", &properties, bad).await;
        let (letter, body) = scene.raw.take(&scene.options.dead_queue()).await;
        assert_eq!(body, bad);
        assert!(holds(&letter, &short(b"theirs")) && holds(&letter, &short(b"text/json")));
        let said = match bytes {
            ..262_144 => format!("1 of its headers, {} bytes in all", bytes + 11),
            _ => format!("its headers have {} bytes", bytes + 11),
        };
        assert!(holds(&letter, said.as_bytes()), "{}", String::from_utf8_lossy(&letter));
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn bodies_nested_as_deep_as_a_command_may_be_long_are_put_aside() {
    let scene = Scene::at(&shared_url()).await;
    let half = 512 * 1024;
    let bodies = [
        "[".repeat(half) + &"]".repeat(half),
        format!("{{\"chat_id\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        "{\"a\":".repeat(150_000) + "1" + &"}".repeat(150_000),
    ];
    for body in &bodies {
        scene.admin.command(&scene.options, body.as_bytes(), BasicProperties::default()).await;
        let letter = scene.admin.wait_for_one(&scene.options.dead_queue()).await.delivery;
        assert!(letter.data == body.as_bytes(), "the body is kept");
        let headers = letter.properties.headers().clone().unwrap();
        let code = headers.inner().get("x-error-code").unwrap().as_long_string().unwrap();
        assert_eq!(code.to_string(), "bad_json");
    }
    scene.goes_on().await;
}
