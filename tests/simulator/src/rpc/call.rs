//! One call on its way from a session to its answer: counted, judged, perhaps made to fail.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use grammers_tl_types::{Identifiable, Serializable, enums, functions, types};

use super::{Caller, Request, execute, password};
use crate::error::RpcError;
use crate::faults::{CallFate, Manner, Verdict};
use crate::flood_waits::{Call, WaitId};
use crate::server::Server;
use crate::server::link::{End, Link};
use crate::wire::envelope::rpc_result;
use crate::world::World;

/// Where a call came from and where its answer goes.
#[derive(Clone)]
pub(crate) struct Ticket {
    server: Arc<Server>,
    link: Arc<Link>,
    key_id: i64,
    msg_id: i64,
    /// Message id of the packet in which the call came.
    packet: i64,
    /// When that packet was decrypted.
    opened: Instant,
}

impl Ticket {
    pub(crate) fn new(
        server: &Arc<Server>,
        link: &Arc<Link>,
        key_id: i64,
        msg_id: i64,
        (packet, opened): (i64, Instant),
    ) -> Self {
        let (server, link) = (Arc::clone(server), Arc::clone(link));
        Self { server, link, key_id, msg_id, packet, opened }
    }

    /// Executes a call, or does to it what a fault says; delayed ones do not hold up others.
    pub(crate) fn call(self, body: Vec<u8>) {
        let server = Arc::clone(&self.server);
        let mut world = server.world();
        let Ok(request) = Request::unwrap(&body) else {
            self.answer(Err("INPUT_FETCH_ERROR".into()));
            return;
        };
        if let Some(error) = world.tell_dead(self.key_id) {
            self.answer(Err(error));
            self.link.end(End::AfterFlush);
            return;
        }
        let user = world.keys.get(&self.key_id).and_then(|record| record.user);
        world.note_call(user, request.method);
        if let Some(user) = user {
            world.violations.called(self.as_judged(user, &request), Instant::now());
        }
        let concerned = user.or_else(|| world.concerned(self.key_id, &request));
        let CallFate { delay, verdict } = world.faults.call(concerned, request.method);
        let is_slow = password::is_slow(&request);
        if delay.is_none() && !is_slow {
            self.perform(&mut world, user, &request, verdict);
            world.note_time(request.id, self.opened);
            return;
        }
        drop(world);
        tokio::spawn(async move {
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            // The slow methods compute for long; the others need no thread of their own.
            let late = move || self.perform_late(&body, verdict);
            if is_slow {
                tokio::task::spawn_blocking(late).await.unwrap_or_default()
            } else {
                late()
            }
        });
    }

    fn perform_late(&self, body: &[u8], verdict: Verdict) {
        let Ok(request) = Request::unwrap(body) else { return };
        if password::is_slow(&request) {
            password::prepare(&self.server, self.key_id, &request);
        }
        let mut world = self.server.world();
        let user = world.keys.get(&self.key_id).and_then(|record| record.user);
        self.perform(&mut world, user, &request, verdict);
    }

    fn perform(&self, world: &mut World, user: Option<i64>, request: &Request, verdict: Verdict) {
        match verdict {
            Verdict::Execute => {
                let result = self.execute(world, user, request);
                let wait =
                    result.as_ref().err().and_then(|error| self.watch(world, user, request, error));
                self.send_answer(result, wait);
            }
            Verdict::LoseAnswer => {
                // Whatever comes of it, the client will not learn it.
                let _ = self.execute(world, user, request);
                world.books.answer_lost();
                self.link.end(End::Now);
            }
            Verdict::Error(error) => {
                let wait = self.watch(world, user, request, &error);
                self.send_answer(Err(error), wait);
            }
            Verdict::Disconnect => self.link.end(End::Now),
            Verdict::Reset => self.link.end(End::Reset),
            Verdict::Garbage => self.link.end(End::Garbage),
            Verdict::Ignore => {}
            Verdict::Hostile(what) => drop(self.link.push(Vec::new(), Manner::Hostile(what))),
        }
    }

    /// Watches from now on that a wait is kept, if the answer to somebody tells of one.
    fn watch(
        &self,
        world: &mut World,
        user: Option<i64>,
        request: &Request,
        error: &RpcError,
    ) -> Option<WaitId> {
        let (user, seconds) = user.zip(error.wait_seconds())?;
        let call = self.as_judged(user, request);
        Some(world.violations.waits.told(call, seconds, Instant::now()))
    }

    fn execute(
        &self,
        world: &mut World,
        user: Option<i64>,
        request: &Request,
    ) -> Result<Vec<u8>, RpcError> {
        let attach = |world: &mut World, user: Option<i64>| {
            if let Some(user) = user.filter(|_| !request.without_updates) {
                world.attach(user, &self.link);
            }
        };
        attach(world, user);
        world.books.begin_call();
        let caller = Caller { key_id: self.key_id, user, link: &self.link };
        let result = execute(world, caller, request);
        if user.is_none() {
            // Who has just logged in need not call anything else to get updates.
            attach(world, world.keys.get(&self.key_id).and_then(|record| record.user));
        }
        result
    }

    /// The call as flood waits see it.
    fn as_judged(&self, user: i64, request: &Request) -> Call {
        let mut hasher = DefaultHasher::new();
        request.body.hash(&mut hasher);
        Call {
            user,
            method: request.method,
            fingerprint: hasher.finish(),
            link: self.link.id,
            packet: self.packet,
        }
    }

    fn answer(&self, result: Result<Vec<u8>, RpcError>) {
        self.send_answer(result, None);
    }

    /// Queues the answer; callers hold the world's lock, so that answers and updates keep order.
    /// `wait` is the one that the answer tells of.
    fn send_answer(&self, result: Result<Vec<u8>, RpcError>, wait: Option<WaitId>) {
        let result = result.unwrap_or_else(|error| {
            let RpcError { code, name } = error;
            let error = types::RpcError { error_code: code, error_message: name.into_owned() };
            enums::RpcError::Error(error).to_bytes()
        });
        self.link.send_answer(rpc_result(self.msg_id, &result), wait);
    }
}

impl World {
    fn note_call(&mut self, user: Option<i64>, method: &'static str) {
        *self.counters.methods.entry(method).or_default() += 1;
        let Some(user) = user else { return };
        *self.user_mut(user).methods.entry(method).or_default() += 1;
    }

    /// Notes how long a send took that nothing delayed.
    fn note_time(&mut self, method: u32, opened: Instant) {
        if method == functions::messages::SendMessage::CONSTRUCTOR_ID {
            self.counters.sends_timed += 1;
            self.counters.sends_time += opened.elapsed();
        }
    }

    /// Subscribes a connection to its user's updates.
    fn attach(&mut self, user: i64, link: &Arc<Link>) {
        if !link.attach() {
            self.user_mut(user).links.push(Arc::clone(link));
        }
    }
}
