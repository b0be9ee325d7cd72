//! The backend that there is: the distribution's own Symfony Messenger, with the configuration and
//! the classes of `docs/bridge.md`, sends the four commands and consumes both events.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use telewarden_simulator::ChatKind;

use crate::support::{Broker, DaemonOptions, Stage, eventually};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bridge.md");

/// The blocks of one language in the document's section on Symfony.
fn blocks(language: &str) -> Vec<String> {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (_, section) = document.split_once("\n## A backend on Symfony Messenger\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|block| block.split("```\n").next().unwrap().to_owned()).collect()
}

/// A virtual host of one's own, so that everything has the names of the document.
struct VirtualHost(String);

impl VirtualHost {
    async fn make() -> Self {
        let name = format!("symfony-{}", uuid::Uuid::new_v4().simple());
        let host = Self(name);
        for words in [
            &["add_vhost", &host.0][..],
            &["set_permissions", "--vhost", &host.0, "guest", ".*", ".*", ".*"],
        ] {
            let mut command = control(words);
            let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
            let output = output.unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        host
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        let _ = control(&["delete_vhost", &self.0]).output();
    }
}

fn control(words: &[&str]) -> Command {
    let folder = std::env::var_os("TELEWARDEN_TEST_RABBITMQ_DIR")
        .expect("TELEWARDEN_TEST_RABBITMQ_DIR is not set: run ./scripts/test");
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/rabbitmq"));
    command.arg("ctl").arg(folder).args(words);
    command
}

/// The application: a folder with what the document says, and the broker's address.
struct Application {
    folder: tempfile::TempDir,
    url: String,
}

impl Application {
    fn of_the_document(url: &str) -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        let blocks = blocks("php");
        assert_eq!(blocks.len(), 3, "the configuration, the commands, the events");
        for block in blocks {
            let path = block.lines().nth(1).and_then(|line| line.strip_prefix("// ")).unwrap();
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, block).unwrap();
        }
        Self { folder, url: url.to_owned() }
    }

    /// Has PHP do something; the lines that it prints.
    async fn run(&self, words: &[&str], input: &Value) -> Vec<Value> {
        let mut command = Command::new("php");
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/symfony/backend.php"))
            .arg(self.folder.path())
            .args(words)
            .env("RABBITMQ_URL", &self.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let input = serde_json::to_vec(input).unwrap();
        let run = move || {
            let mut child = command.spawn().expect("php is installed: run ./scripts/test");
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), &input).unwrap();
            child.wait_with_output().unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}{error}");
        said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    async fn send(&self, class: &str, fields: Value) {
        self.run(&["send"], &json!([[format!("App\\Message\\{class}"), fields]])).await;
    }

    async fn receive(&self, count: usize) -> Vec<Value> {
        self.run(&["receive", &count.to_string()], &Value::Null).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn symfony_messenger_sends_the_four_commands_and_consumes_both_events() {
    let host = VirtualHost::make().await;
    let mut broker = Broker::shared();
    broker.url = broker.url.replace("/%2f", &format!("/{}", host.0));
    let url = broker.url.clone();
    let [types] = &blocks("toml")[..] else { panic!("one block of configuration") };
    let options = DaemonOptions { extra_config: types.clone(), ..DaemonOptions::default() };
    let mut stage = Stage::prepare(broker, options).await;
    // The names of the document are the defaults.
    stage.daemon.reconfigure(|config| {
        let is_name = |line: &&str| {
            let line = line.trim_start();
            ["exchange =", "command_queue =", "event_queue ="].iter().any(|it| line.starts_with(it))
        };
        config.lines().filter(|line| !is_name(line)).collect::<Vec<_>>().join("\n")
    });
    let application = Application::of_the_document(&url);
    let (alice, bob) = (stage.listener("alice").await, stage.listener("bob").await);
    let room = stage.supergroup(&[&alice, &bob]).await;
    let hall = stage.chat(ChatKind::Supergroup, Some("the_hall"), &[]).await;

    // Messenger declares what it uses before the daemon does: both agree about it.
    let start = json!({
        "chat_id": room.chat_id,
        "primary_session": alice.data(),
        "backup_sessions_pool": [bob.data()],
    });
    application.send("StartMonitoringChatCommand", start).await;
    stage.daemon.spawn().await;
    stage.daemon.wait_for_monitors("active", 1).await;
    let (_, ready) = stage.daemon.get("/health/ready").await.unwrap();
    assert!(!ready.to_string().contains("declared otherwise"), "{ready}");

    stage.sim.post(room.chat_id, stage.author, "grüße").await.unwrap();
    let told = application.receive(1).await.remove(0);
    assert_eq!(told["class"], "App\\Message\\IncomingTelegramMessage");
    let said = stage.sim.messages(room.chat_id).await.unwrap().remove(0);
    assert_eq!(told["fields"]["chat_id"], room.chat_id);
    assert_eq!(told["fields"]["message_id"], said.message_id);
    assert_eq!(told["fields"]["text"], "grüße");
    assert_eq!(told["fields"]["metadata"]["session_id"], "alice");
    assert_eq!(told["fields"]["metadata"]["recovered"], false);
    let date = told["fields"]["date"].as_str().unwrap();
    let date: jiff::Timestamp = date.parse().expect("a date that PHP understood");
    assert_eq!(date.as_second(), i64::from(said.date));

    // With the switch it is bob whose loss is told, and alice who goes on.
    let switch = json!({
        "chat_id": room.chat_id,
        "new_primary_session": bob.data(),
        "backup_sessions_pool": [alice.data()],
    });
    application.send("SwitchMonitoringSourceCommand", switch).await;
    eventually("bob listens", async || {
        let bob = stage.sim.account(bob.user_id).await.ok()?;
        (bob.connections_now > 0).then_some(())
    })
    .await;
    stage.daemon.wait_for_monitors("active", 1).await;
    stage.sim.revoke(bob.user_id, None).await.unwrap();
    stage.sim.disconnect(bob.user_id).await.unwrap();
    let told = application.receive(1).await.remove(0);
    assert_eq!(told["class"], "App\\Message\\AccessLost");
    assert_eq!(told["fields"]["chat_id"], room.chat_id);
    assert_eq!(told["fields"]["session_id"], "bob");
    assert!(told["fields"]["reason"].is_string());

    let join = json!({ "chat_id": "@the_hall", "session": alice.data() });
    application.send("JoinChatCommand", join).await;
    eventually("alice is in the hall", async || {
        let members = stage.sim.members(hall.chat_id).await.ok()?;
        members.iter().any(|member| member.user_id == alice.user_id).then_some(())
    })
    .await;

    application.send("StopMonitoringChatCommand", json!({ "chat_id": room.chat_id })).await;
    eventually("nobody is monitored", async || {
        let (_, health) = stage.daemon.get("/health").await.ok()?;
        (health["monitors"]["total"] == 0).then_some(())
    })
    .await;
    stage.expect_clean_books().await;
}
