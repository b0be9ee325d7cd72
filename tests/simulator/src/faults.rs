//! Faults on demand: what goes wrong, for whom, how often.
//!
//! Owns the list of standing faults and which of them an event meets; performing them is the
//! server's work. The first matching fault in order of arrival wins, and uses up one of its `times`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::RpcError;

/// What goes wrong, when it is not an RPC error.
///
/// The kinds marked *call* strike when a call matches `method` (any, if none is given); the others
/// ignore `method`. Connection kinds of one user strike once the auth key of the first encrypted
/// packet tells whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// *Call*: the connection is closed instead of executing the call.
    Disconnect,
    /// *Call*: the connection is reset (TCP RST) instead of executing the call.
    Reset,
    /// *Call*: the call is executed, then the connection is closed without its answer.
    LoseAnswer,
    /// *Call*: random bytes go out instead of an answer, then the connection is closed.
    Garbage,
    /// *Call* with a `method`: the call is never executed nor answered. Without one, a connection:
    /// it is accepted and nothing is ever answered.
    Mute,
    /// Connection: reset as soon as it is accepted, or as soon as its user is known.
    RefuseConnections,
    /// Connection: `delay_ms` (default 100) passes before each read from it.
    SlowReader,
    /// An update for the user is counted and numbered but not sent.
    SwallowUpdates,
    /// An update is sent twice.
    DuplicateUpdates,
    /// An update is held back until the next one for that user went out, or for 300 ms.
    ReorderUpdates,
    /// `updates.getChannelDifference` answers `channelDifferenceTooLong`.
    ChannelDifferenceTooLong,
    /// `updates.getDifference` answers `differenceTooLong`.
    DifferenceTooLong,
    /// `updates.getDifference` answers a slice without anything in it and never gets on.
    DifferenceInCircles,
    /// An established connection goes silent in both directions and TCP stays open: half-open.
    /// Strikes when something next comes in or is to go out, and nobody hears of that any more.
    Freeze,
    /// A send whose `random_id` was accepted before is answered `RANDOM_ID_DUPLICATE` (500), not
    /// with the message that it made then.
    RefuseDuplicates,
    /// `updatesTooLong` is sent instead of an update.
    UpdatesTooLong,
    /// *Call* with a `method`: it is sent in the place of the answer, like the next three. Without one:
    /// instead of an update one is sent whose parts lie in each other 1,500 deep.
    DeepUpdates,
    /// Instead of an update less than a megabyte is sent that unpacks to 160 MiB.
    PackedUpdates,
    /// Instead of an update containers are sent that hold each other 20,000 deep.
    NestedContainers,
    /// Instead of an update a packet with 250,000 updates of four bytes is sent.
    CrowdedUpdates,
    /// A new message: before it is numbered, the numbers of its channel (for everybody in it), or
    /// of the account it is for, fall back by 5, but not below the first one, and stay so.
    PtsBackwards,
    /// A session of that user, from its next packet on: the server's clock is `skew_seconds` ahead
    /// of (or, if negative, behind) this machine's. Dates of messages stay as they are.
    ClockSkew,
    /// A packet: the key's salts are drawn anew before its salt is looked at.
    ExpireSalt,
    /// A packet: answered with the transport error 404 as if its key were unknown; the connection
    /// closes.
    RefuseKey,
}

/// A fault as it is asked for: `error`, `kind` or `delay_ms` must be there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Whom it strikes; everybody, if absent.
    pub user_id: Option<i64>,
    /// A method's full name such as `messages.sendMessage`, or `*`.
    pub method: Option<String>,
    /// Name of the RPC error to answer, such as `FLOOD_WAIT_3`.
    pub error: Option<String>,
    /// What else goes wrong.
    pub kind: Option<FaultKind>,
    /// How long to wait before anything else happens, in milliseconds.
    pub delay_ms: Option<u64>,
    /// How often it strikes; until lifted, if absent.
    pub times: Option<u32>,
    /// How far the clock is ahead, in seconds; behind, if negative. Only with `clock_skew`.
    pub skew_seconds: Option<i32>,
}

/// What is to happen to one call, after `delay`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct CallFate {
    pub(crate) delay: Option<Duration>,
    pub(crate) verdict: Verdict,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) enum Verdict {
    #[default]
    Execute,
    Error(RpcError),
    Disconnect,
    Reset,
    LoseAnswer,
    Garbage,
    Ignore,
    /// Something that should not be read in the place of the answer.
    Hostile(Hostility),
}

/// How an update goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Once,
    Twice,
    Never,
    AfterTheNext,
    /// `updatesTooLong` instead of it.
    TooLong,
    /// Something that should not be read instead of it.
    Hostile(Hostility),
}

/// Something that should not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hostility {
    Deep,
    Packed,
    Nested,
    Crowded,
}

/// What is to happen to one encrypted packet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PacketFate {
    pub(crate) refuse_key: bool,
    pub(crate) expire_salt: bool,
    /// How far the server's clock is ahead, in seconds.
    pub(crate) skew: i32,
}

/// What is to happen to a whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionFate {
    Serve,
    Refuse,
    Mute,
}

struct Fault {
    spec: FaultSpec,
    left: Option<u32>,
}

/// The standing faults.
#[derive(Default)]
pub(crate) struct Faults {
    faults: Vec<Fault>,
    struck: BTreeMap<String, u64>,
}

impl Faults {
    /// Adds a fault; the error says what is wrong with the request.
    pub(crate) fn add(&mut self, spec: FaultSpec) -> Result<(), &'static str> {
        if spec.error.is_none() && spec.kind.is_none() && spec.delay_ms.is_none() {
            return Err("a fault needs `error`, `kind` or `delay_ms`");
        }
        if spec.error.is_some() && spec.kind.is_some() {
            return Err("a fault has either an `error` or a `kind`");
        }
        if spec.times == Some(0) {
            return Err("`times` counts from 1");
        }
        if spec.skew_seconds.is_some() != (spec.kind == Some(FaultKind::ClockSkew)) {
            return Err("`skew_seconds` and the kind `clock_skew` belong together");
        }
        self.faults.push(Fault { left: spec.times, spec });
        Ok(())
    }

    /// How often faults have struck, by name: the kind, the error without its number, or `delay`.
    pub(crate) fn struck(&self) -> BTreeMap<String, u64> {
        self.struck.clone()
    }

    pub(crate) fn lift_all(&mut self) {
        self.faults.clear();
    }

    pub(crate) fn call(&mut self, user: Option<i64>, method: &str) -> CallFate {
        let Some(spec) = self.strike(user, |spec| spec.meets_call(method)) else {
            return CallFate::default();
        };
        let verdict = match (spec.error, spec.kind) {
            (Some(error), _) => Verdict::Error(RpcError::named(error)),
            (None, None) => Verdict::Execute,
            (None, Some(FaultKind::Disconnect)) => Verdict::Disconnect,
            (None, Some(FaultKind::Reset)) => Verdict::Reset,
            (None, Some(FaultKind::LoseAnswer)) => Verdict::LoseAnswer,
            (None, Some(FaultKind::Garbage)) => Verdict::Garbage,
            (None, Some(kind)) => kind.hostility().map_or(Verdict::Ignore, Verdict::Hostile),
        };
        CallFate { delay: spec.delay_ms.map(Duration::from_millis), verdict }
    }

    /// What happens to a connection; `user` is `None` while it is not known whose it is.
    pub(crate) fn connection(&mut self, user: Option<i64>) -> ConnectionFate {
        let meets = |spec: &FaultSpec| match spec.kind {
            Some(FaultKind::RefuseConnections) => spec.user_id == user,
            Some(FaultKind::Mute) => spec.method.is_none() && spec.user_id == user,
            _ => false,
        };
        match self.strike(user, meets).and_then(|spec| spec.kind) {
            Some(FaultKind::RefuseConnections) => ConnectionFate::Refuse,
            Some(_) => ConnectionFate::Mute,
            None => ConnectionFate::Serve,
        }
    }

    /// How long to wait before reading from a connection of `user`.
    pub(crate) fn read_delay(&mut self, user: Option<i64>) -> Option<Duration> {
        let spec = self.strike(user, |spec| spec.kind == Some(FaultKind::SlowReader))?;
        Some(Duration::from_millis(spec.delay_ms.unwrap_or(100)))
    }

    /// How the next update for `user` goes out.
    pub(crate) fn update(&mut self, user: i64) -> Manner {
        let manner = |spec: &FaultSpec| match spec.kind {
            Some(FaultKind::SwallowUpdates) => Some(Manner::Never),
            Some(FaultKind::DuplicateUpdates) => Some(Manner::Twice),
            Some(FaultKind::ReorderUpdates) => Some(Manner::AfterTheNext),
            Some(FaultKind::UpdatesTooLong) => Some(Manner::TooLong),
            Some(kind) if spec.method.is_none() => kind.hostility().map(Manner::Hostile),
            _ => None,
        };
        self.strike(Some(user), |spec| manner(spec).is_some())
            .and_then(|spec| manner(&spec))
            .unwrap_or(Manner::Once)
    }

    /// Whether a fault of this kind meets a difference.
    pub(crate) fn meets_difference(&mut self, user: i64, kind: FaultKind) -> bool {
        self.strike(Some(user), |spec| spec.kind == Some(kind)).is_some()
    }

    /// What happens to an encrypted packet of `user`.
    pub(crate) fn packet(&mut self, user: Option<i64>) -> PacketFate {
        if self.faults.is_empty() {
            return PacketFate::default();
        }
        let mut strikes = |kind| self.strike(user, |spec| spec.kind == Some(kind));
        PacketFate {
            refuse_key: strikes(FaultKind::RefuseKey).is_some(),
            expire_salt: strikes(FaultKind::ExpireSalt).is_some(),
            skew: strikes(FaultKind::ClockSkew).and_then(|spec| spec.skew_seconds).unwrap_or(0),
        }
    }

    /// Whether a connection of `user`, over which something is to go, goes silent instead.
    pub(crate) fn freezes(&mut self, user: Option<i64>) -> bool {
        self.strike(user, |spec| spec.kind == Some(FaultKind::Freeze)).is_some()
    }

    /// Whether a repeated `random_id` of `user` is refused instead of answered again.
    pub(crate) fn refuses_duplicate(&mut self, user: i64) -> bool {
        self.strike(Some(user), |spec| spec.kind == Some(FaultKind::RefuseDuplicates)).is_some()
    }

    /// Whether the numbers of a sequence that `users` follow fall back before the next message.
    pub(crate) fn falls_back(&mut self, users: impl IntoIterator<Item = i64>) -> bool {
        let mut users = users.into_iter();
        let meets = |spec: &FaultSpec| spec.kind == Some(FaultKind::PtsBackwards);
        !self.faults.is_empty() && users.any(|user| self.strike(Some(user), meets).is_some())
    }

    fn strike(
        &mut self,
        user: Option<i64>,
        meets: impl Fn(&FaultSpec) -> bool,
    ) -> Option<FaultSpec> {
        let place = self.faults.iter().position(|fault| {
            fault.spec.user_id.is_none_or(|whom| Some(whom) == user) && meets(&fault.spec)
        })?;
        let fault = &mut self.faults[place];
        let spec = fault.spec.clone();
        *self.struck.entry(spec.name()).or_default() += 1;
        if let Some(left) = &mut fault.left {
            *left -= 1;
            if *left == 0 {
                self.faults.remove(place);
            }
        }
        Some(spec)
    }
}

impl FaultKind {
    fn hostility(self) -> Option<Hostility> {
        match self {
            Self::DeepUpdates => Some(Hostility::Deep),
            Self::PackedUpdates => Some(Hostility::Packed),
            Self::NestedContainers => Some(Hostility::Nested),
            Self::CrowdedUpdates => Some(Hostility::Crowded),
            _ => None,
        }
    }
}

impl FaultSpec {
    fn name(&self) -> String {
        let kind = || match serde_json::to_value(self.kind) {
            Ok(serde_json::Value::String(kind)) => kind,
            _ => "delay".to_owned(),
        };
        let error = self.error.as_deref().map(|error| {
            error.trim_end_matches(|last: char| last.is_ascii_digit()).trim_end_matches('_')
        });
        error.map_or_else(kind, str::to_owned)
    }

    fn meets_call(&self, method: &str) -> bool {
        use FaultKind::{Disconnect, Garbage, LoseAnswer, Mute, Reset};
        let strikes_calls = match self.kind {
            None | Some(Disconnect | Reset | LoseAnswer | Garbage) => true,
            Some(Mute) => self.method.is_some(),
            Some(kind) => kind.hostility().is_some() && self.method.is_some(),
        };
        strikes_calls && self.method.as_deref().is_none_or(|name| name == "*" || name == method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(specs: Vec<FaultSpec>) -> Faults {
        let mut faults = Faults::default();
        specs.into_iter().for_each(|spec| faults.add(spec).unwrap());
        faults
    }

    fn spec(kind: FaultKind) -> FaultSpec {
        FaultSpec { kind: Some(kind), ..FaultSpec::default() }
    }

    #[test]
    fn an_error_strikes_its_user_and_method_as_often_as_asked() {
        let mut faults = faults(vec![FaultSpec {
            user_id: Some(1),
            method: Some("messages.sendMessage".into()),
            error: Some("FLOOD_WAIT_3".into()),
            times: Some(2),
            ..FaultSpec::default()
        }]);
        assert_eq!(faults.call(Some(2), "messages.sendMessage").verdict, Verdict::Execute);
        assert_eq!(faults.call(Some(1), "users.getUsers").verdict, Verdict::Execute);
        for _ in 0..2 {
            let fate = faults.call(Some(1), "messages.sendMessage");
            assert_eq!(fate.verdict, Verdict::Error(RpcError::named("FLOOD_WAIT_3")));
        }
        assert_eq!(faults.call(Some(1), "messages.sendMessage").verdict, Verdict::Execute);
    }

    #[test]
    fn update_and_connection_faults_leave_calls_alone() {
        let mut faults = faults(vec![
            spec(FaultKind::SwallowUpdates),
            spec(FaultKind::Mute),
            spec(FaultKind::ChannelDifferenceTooLong),
        ]);
        assert_eq!(faults.call(Some(1), "users.getUsers"), CallFate::default());
        assert_eq!(faults.update(1), Manner::Never);
        assert_eq!(faults.connection(None), ConnectionFate::Mute);
        assert!(faults.meets_difference(1, FaultKind::ChannelDifferenceTooLong));
        faults.lift_all();
        assert_eq!(faults.update(1), Manner::Once);
        assert_eq!(faults.connection(None), ConnectionFate::Serve);
    }

    #[test]
    fn what_should_not_be_read_strikes_calls_where_a_method_is_named_and_updates_else() {
        let deep = spec(FaultKind::DeepUpdates);
        let method = Some("updates.getDifference".to_owned());
        let mut of_calls = faults(vec![FaultSpec { method, ..deep.clone() }]);
        assert_eq!(of_calls.update(1), Manner::Once);
        assert_eq!(of_calls.call(Some(1), "updates.getState").verdict, Verdict::Execute);
        let verdict = of_calls.call(Some(1), "updates.getDifference").verdict;
        assert_eq!(verdict, Verdict::Hostile(Hostility::Deep));
        let mut of_updates = faults(vec![deep]);
        assert_eq!(of_updates.call(Some(1), "updates.getDifference").verdict, Verdict::Execute);
        assert_eq!(of_updates.update(1), Manner::Hostile(Hostility::Deep));
    }

    #[test]
    fn what_struck_is_counted_by_its_name() {
        let error = |name: &str| FaultSpec { error: Some(name.into()), ..FaultSpec::default() };
        let delay = FaultSpec { delay_ms: Some(1), times: Some(1), ..FaultSpec::default() };
        let once = FaultSpec { times: Some(1), ..error("FLOOD_WAIT_3") };
        let mut faults = faults(vec![delay, once, spec(FaultKind::LoseAnswer)]);
        for _ in 0..4 {
            faults.call(Some(1), "users.getUsers");
        }
        let counted = [("FLOOD_WAIT", 1), ("delay", 1), ("lose_answer", 2)];
        assert_eq!(faults.struck(), counted.map(|(name, n)| (name.to_owned(), n)).into());
    }

    #[test]
    fn a_users_connection_fault_waits_until_the_user_is_known() {
        let mut faults = faults(vec![FaultSpec {
            user_id: Some(1),
            kind: Some(FaultKind::RefuseConnections),
            ..FaultSpec::default()
        }]);
        assert_eq!(faults.connection(None), ConnectionFate::Serve);
        assert_eq!(faults.connection(Some(2)), ConnectionFate::Serve);
        assert_eq!(faults.connection(Some(1)), ConnectionFate::Refuse);
    }

    #[test]
    fn a_packet_may_meet_several_faults_at_once() {
        let skew = FaultSpec { skew_seconds: Some(-40), ..spec(FaultKind::ClockSkew) };
        let once = FaultSpec { times: Some(1), ..spec(FaultKind::ExpireSalt) };
        let mut faults = faults(vec![skew, once]);
        let fate = PacketFate { refuse_key: false, expire_salt: true, skew: -40 };
        assert_eq!(faults.packet(Some(1)), fate);
        assert_eq!(faults.packet(Some(1)), PacketFate { expire_salt: false, ..fate });
    }

    #[test]
    fn faults_without_meaning_are_refused() {
        assert!(Faults::default().add(FaultSpec::default()).is_err());
        assert!(Faults::default().add(spec(FaultKind::ClockSkew)).is_err());
        let skewed = FaultSpec { skew_seconds: Some(1), ..spec(FaultKind::Mute) };
        assert!(Faults::default().add(skewed).is_err());
    }
}
