//! The release binary as a process: started, asked, killed, started again.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use telewarden_simulator::Simulator;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{Backend, PATIENCE, http};

/// How often an awaited state is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Settings that differ between tests.
pub(crate) struct DaemonOptions {
    pub(crate) retry_delay_seconds: u32,
    pub(crate) max_reconnect_attempts: u32,
    pub(crate) extra_config: String,
    /// Its environment, which is empty otherwise.
    pub(crate) environment: Vec<(String, String)>,
    /// Runs the daemon that was built to die at named points.
    pub(crate) fail_points: bool,
    /// Its limit of open files, soft and hard.
    pub(crate) open_files: Option<u64>,
}

impl Default for DaemonOptions {
    fn default() -> Self {
        Self {
            retry_delay_seconds: 1,
            max_reconnect_attempts: 3,
            extra_config: String::new(),
            environment: Vec::new(),
            fail_points: false,
            open_files: None,
        }
    }
}

/// A daemon, running or not.
pub(crate) struct Daemon {
    home: TempDir,
    binary: PathBuf,
    listen: SocketAddr,
    environment: Vec<(String, String)>,
    open_files: Option<u64>,
    child: Option<Child>,
    may_leave_cores: bool,
}

impl Daemon {
    /// A daemon with its settings and an empty store, not running yet.
    pub(crate) fn prepare(sim: &Simulator, backend: &Backend, options: DaemonOptions) -> Self {
        let bridge = format!(
            r#"
            enabled = true
            url = "{url}"
            exchange = "{exchange}"
            command_queue = "{commands}"
            event_queue = "{events}"
            "#,
            url = backend.broker.url,
            exchange = backend.names.exchange,
            commands = backend.names.commands,
            events = backend.names.events,
        );
        Self::configure(sim, &bridge, options)
    }

    /// The same without a broker.
    pub(crate) fn alone(sim: &Simulator, options: DaemonOptions) -> Self {
        Self::configure(sim, "enabled = false", options)
    }

    fn configure(sim: &Simulator, bridge: &str, options: DaemonOptions) -> Self {
        let home = TempDir::new().expect("a folder");
        let listen = free_address();
        let binary = if options.fail_points { dying_binary() } else { binary() };
        let DaemonOptions {
            retry_delay_seconds,
            max_reconnect_attempts,
            extra_config,
            environment,
            open_files,
            ..
        } = options;
        let config = format!(
            r#"
            [telegram]
            api_id = 1
            api_hash = "0123456789abcdef"
            [telegram.servers]
            2 = "{telegram}"
            [store]
            path = "{state}"
            [bridge]
            {bridge}
            [failover]
            retry_delay_seconds = {retry_delay_seconds}
            max_reconnect_attempts = {max_reconnect_attempts}
            [http]
            listen = "{listen}"
            [log]
            level = "debug"
            format = "json"
            {extra_config}
            "#,
            telegram = sim.listen_addr(),
            state = home.path().join("state").display(),
        );
        fs::write(home.path().join("config.toml"), config).expect("the config is written");
        Self { home, binary, listen, environment, open_files, child: None, may_leave_cores: false }
    }

    /// Sets a variable of its environment, from its next start on.
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Its clock is that many seconds ahead of everybody's, from its next start on. The clocks that
    /// nobody sets are left alone.
    pub(crate) fn set_clock(&mut self, seconds: i64) {
        self.set_variable("LD_PRELOAD", faketime().to_str().expect("a path of letters"));
        self.set_variable("FAKETIME", &format!("{seconds:+}s"));
        self.set_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    /// How many files it may have open, from its next start on.
    pub(crate) fn set_open_files(&mut self, limit: u64) {
        self.open_files = Some(limit);
    }

    /// Its environment is empty again, from its next start on.
    pub(crate) fn clear_variables(&mut self) {
        self.environment.clear();
    }

    /// Its folder, with its configuration in `config.toml` and its store in `state`.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes the configuration anew.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&str) -> String) {
        let path = self.home.path().join("config.toml");
        let before = fs::read_to_string(&path).expect("the config is read");
        let after = change(&before);
        assert_ne!(before, after, "nothing would change");
        fs::write(path, after).expect("the config is written");
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(libc::SIGHUP);
    }

    /// `telewarden check` on its configuration: the exit status and all it said.
    pub(crate) fn check(&self) -> (Option<i32>, String) {
        self.command(&["check"])
    }

    /// A command of the command line on its configuration: the exit status and all it said.
    pub(crate) fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        let said = self.command_line(words).output().expect("the command runs");
        let mut text = String::from_utf8(said.stdout).expect("it is text");
        text.push_str(&String::from_utf8_lossy(&said.stderr));
        (said.status.code(), text)
    }

    /// The same, to be run by whoever asks.
    pub(crate) fn command_line(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(words)
            .arg("--config")
            .arg(self.home.path().join("config.toml"))
            .current_dir(self.home.path())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.may_leave_cores {
            with_cores(&mut command);
        }
        command
    }

    /// What it starts from now on may leave cores of any size in its folder.
    pub(crate) fn allow_cores(&mut self) {
        self.may_leave_cores = true;
    }

    /// Its process, which runs.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn spawn(&mut self) {
        self.launch();
        self.wait_until_ready().await;
    }

    /// Waits until every dependency works.
    pub(crate) async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.check_alive();
            if matches!(self.get("/health/ready").await, Ok((200, _))) {
                return;
            }
            assert!(Instant::now() < deadline, "it does not get ready: {}", self.log());
            sleep(POLL).await;
        }
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn launch(&mut self) {
        self.launch_with(&["run"], None);
    }

    /// The same on a store of which its operator says that it was moved.
    pub(crate) fn launch_moved(&mut self) {
        self.launch_with(&["run", "--moved"], None);
    }

    /// The same, to die when it reaches `point` for the `nth` time.
    pub(crate) fn launch_to_die_at(&mut self, point: &str, nth: u64) {
        let variable = ("TELEWARDEN_FAIL_POINT", format!("{point}@{nth}"));
        self.launch_with(&["run"], Some(variable));
    }

    fn launch_with(&mut self, words: &[&str], variable: Option<(&str, String)>) {
        let log = self.home.path().join("log");
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let mut command = self.command_line(words);
        if let Some(limit) = self.open_files {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            let set = move || match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            };
            // SAFETY: setrlimit may be called between fork and exec, and gets a valid struct.
            unsafe { command.pre_exec(set) };
        }
        let child = command
            .envs(variable)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log's handle"))
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        self.child = Some(child);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is killed");
        let status = child.wait().expect("it ended");
        assert_eq!(status.signal(), Some(9), "it had ended before it was killed: {}", self.log());
    }

    /// The status with which it ended by itself, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("its status")?;
        self.child = None;
        Some(status)
    }

    /// The code with which it ended by itself, if it did, and leaves it to others to ask again.
    pub(crate) fn try_ended(&self) -> Option<Option<i32>> {
        let pid = i32::try_from(self.pid()).expect("a pid");
        let mut about = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the struct is valid, plain numbers, and lives through the call.
        let asked = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut about, options) };
        assert_eq!(asked, 0, "its status is asked for");
        // SAFETY: waitid has filled it in, or left it zero.
        let (ended, code) = unsafe { (about.si_pid(), about.si_status()) };
        (ended == pid).then_some((about.si_code == libc::CLD_EXITED).then_some(code))
    }

    /// Sets the limit of open files of the running process; what it has open stays open.
    pub(crate) fn limit_open_files(&self, limit: u64) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        let bound = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both structs are valid and live through the calls; the hard limit stays.
        let set = unsafe {
            libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut before);
            let bound = libc::rlimit { rlim_max: before.rlim_max, ..bound };
            libc::prlimit(pid, libc::RLIMIT_NOFILE, &bound, std::ptr::null_mut())
        };
        assert_eq!(set, 0, "the limit is set");
    }

    /// Memory that it has resident, KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let about = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = about.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// SIGTERM; the status it ends with.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait_for_end().await
    }

    /// Waits until it ends by itself: its status.
    pub(crate) async fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not stop: {}", self.log());
            sleep(POLL).await;
        }
    }

    /// SIGTERM, and no waiting.
    pub(crate) fn ask_to_stop(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Where it answers.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where its store lies.
    pub(crate) fn store(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// `GET` on the health endpoint.
    pub(crate) async fn get(&self, path: &str) -> std::io::Result<(u16, Value)> {
        http::get(self.listen, path).await
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        let answer = http::get_text(self.listen, "/metrics").await;
        let (status, text) = answer.expect("the metrics come");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Waits until `count` monitors are in `state`.
    pub(crate) async fn wait_for_monitors(&self, state: &str, count: u64) {
        let what = format!("{count} monitors {state}");
        self.wait(&what, |health| (health["monitors"]["by_state"][state] == count).then_some(()))
            .await;
    }

    /// Waits until `count` accounts are in `state`.
    pub(crate) async fn wait_for_accounts(&self, state: &str, count: u64) {
        let what = format!("{count} accounts {state}");
        self.wait(&what, |health| {
            let by_state = &health["accounts"]["by_state"];
            (by_state[state].as_u64().unwrap_or(0) == count).then_some(())
        })
        .await;
    }

    async fn wait<T>(&self, what: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        while Instant::now() < deadline {
            if let Ok((_, health)) = self.get("/health").await {
                if let Some(found) = wanted(&health) {
                    return found;
                }
                last = health;
            }
            sleep(POLL).await;
        }
        panic!("waited in vain for: {what}\nhealth: {last:#}\nlog: {}", self.log());
    }

    /// Keeps what it has logged beyond the end of the test.
    pub(crate) fn keep_log(&self, place: &std::path::Path) -> std::io::Result<u64> {
        fs::copy(self.home.path().join("log"), place)
    }

    fn check_alive(&mut self) {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            panic!("the daemon ended by itself with {status}: {}", self.log());
        }
    }

    /// Everything it has logged, line by line.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        let log = self.log();
        let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
        whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("the daemon's last lines:\n{}", tail.join("\n"));
        }
    }
}

/// The program with an empty environment, for commands that need no daemon.
pub(crate) fn program() -> Command {
    let mut command = Command::new(binary());
    command.env_clear();
    command
}

/// Sends a signal to a child of the test's that is not reaped yet.
pub(crate) fn kill(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a pid");
    // SAFETY: kill takes plain numbers; the pid is our own child's.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "the signal is sent");
}

/// Lets a program leave cores of any size, as far as this process may allow that.
pub(crate) fn with_cores(command: &mut Command) -> &mut Command {
    let allow = || {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls get a valid pointer to a struct that lives through them.
        let allowed = unsafe {
            libc::getrlimit(libc::RLIMIT_CORE, &mut limit);
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_CORE, &limit)
        };
        if allowed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes two system calls and nothing else.
    unsafe { command.pre_exec(allow) }
}

/// Lets this process, the tests', open as many files as it may.
pub(crate) fn more_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid struct that lives through them.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0, "the limit is read");
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0, "the limit is set");
    }
}

/// The binary that `./scripts/test` built alone; without it the one cargo built for this test.
fn binary() -> PathBuf {
    let built = std::env::var_os("TELEWARDEN_TEST_BIN").map(PathBuf::from);
    built.unwrap_or_else(|| env!("CARGO_BIN_EXE_telewarden").into())
}

/// The binary with the feature `fail-points`, which `./scripts/test` builds beside the other one.
fn dying_binary() -> PathBuf {
    std::env::var_os("TELEWARDEN_TEST_FAIL_POINTS_BIN").map(PathBuf::from).expect(
        "TELEWARDEN_TEST_FAIL_POINTS_BIN is not set: run ./scripts/test, which builds that daemon",
    )
}

/// The library that tells a process another time; `./scripts/test` installs it.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("the system's libraries");
    let found = folders.filter_map(Result::ok).find_map(|folder| {
        let library = folder.path().join("faketime/libfaketime.so.1");
        library.exists().then_some(library)
    });
    found.expect("libfaketime is missing: run ./scripts/test, which installs it")
}

/// A loopback address that is free now, below the range from which the kernel draws the ports of
/// outgoing connections: the daemon comes back to it after each kill.
fn free_address() -> SocketAddr {
    loop {
        let port = rand::random_range(10_240..30_240);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("its address");
        }
    }
}
