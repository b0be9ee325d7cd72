//! One call on its way from a session to its answer: counted, judged, perhaps made to fail.

use std::sync::Arc;
use std::time::Instant;

use grammers_tl_types::{Serializable, enums, types};

use super::{Caller, Request, execute};
use crate::error::RpcError;
use crate::faults::{CallFate, Verdict};
use crate::server::Server;
use crate::server::link::{End, Link};
use crate::wire::envelope::{Class, rpc_result};
use crate::world::World;

/// Where a call came from and where its answer goes.
#[derive(Clone)]
pub(crate) struct Ticket {
    server: Arc<Server>,
    link: Arc<Link>,
    key_id: i64,
    msg_id: i64,
}

impl Ticket {
    pub(crate) fn new(server: &Arc<Server>, link: &Arc<Link>, key_id: i64, msg_id: i64) -> Self {
        Self { server: Arc::clone(server), link: Arc::clone(link), key_id, msg_id }
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
        let CallFate { delay, verdict } = world.faults.call(user, request.method);
        match delay {
            None => self.perform(&mut world, user, &request, verdict),
            Some(delay) => {
                drop(world);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    if let Ok(request) = Request::unwrap(&body) {
                        let mut world = server.world();
                        self.perform(&mut world, user, &request, verdict);
                    }
                });
            }
        }
    }

    fn perform(&self, world: &mut World, user: Option<i64>, request: &Request, verdict: Verdict) {
        match verdict {
            Verdict::Execute => {
                let result = self.execute(world, user, request);
                self.answer(result);
            }
            Verdict::LoseAnswer => {
                // Whatever comes of it, the client will not learn it.
                let _ = self.execute(world, user, request);
                self.link.end(End::Now);
            }
            Verdict::Error(error) => {
                if let (Some(user), Some(seconds)) = (user, error.wait_seconds()) {
                    world.violations.told_to_wait(user, request.method, seconds, Instant::now());
                }
                self.answer(Err(error));
            }
            Verdict::Disconnect => self.link.end(End::Now),
            Verdict::Reset => self.link.end(End::Reset),
            Verdict::Garbage => self.link.end(End::Garbage),
            Verdict::Ignore => {}
        }
    }

    fn execute(
        &self,
        world: &mut World,
        user: Option<i64>,
        request: &Request,
    ) -> Result<Vec<u8>, RpcError> {
        if let Some(user) = user
            && !request.without_updates
        {
            world.attach(user, &self.link);
        }
        execute(world, Caller { key_id: self.key_id, user, link: self.link.id }, request)
    }

    /// Queues the answer; callers hold the world's lock, so that answers and updates keep order.
    fn answer(&self, result: Result<Vec<u8>, RpcError>) {
        let result = result.unwrap_or_else(|error| {
            let RpcError { code, name } = error;
            let error = types::RpcError { error_code: code, error_message: name.into_owned() };
            enums::RpcError::Error(error).to_bytes()
        });
        self.link.send(Class::Answer, rpc_result(self.msg_id, &result));
    }
}

impl World {
    fn note_call(&mut self, user: Option<i64>, method: &'static str) {
        *self.counters.methods.entry(method).or_default() += 1;
        let Some(user) = user else { return };
        *self.user_mut(user).methods.entry(method).or_default() += 1;
        self.violations.called(user, method, Instant::now());
    }

    /// Subscribes a connection to its user's updates.
    fn attach(&mut self, user: i64, link: &Arc<Link>) {
        if !link.attach() {
            self.user_mut(user).links.push(Arc::clone(link));
        }
    }
}
