//! What follows an attempt: from what Telegram says to what becomes of the target, of the account and of the task.
//! The table of the contract, as one function without a default; another messenger would have a reader of its own
//! beside [`Answer::of_failure`]. Pure.

use super::pace::{PEER_FLOODS_MAX, TaskPace};
use super::respect::{Covers, Source};
use super::run::TaskRun;
use super::target::{ATTEMPTS_MAX, Reason, Step, Target, TargetError, TargetStatus};
use super::task::{Order, PauseReason};
use crate::protocol::telegram::failure::{EMPTY_ANSWER, Failure, NOT_A_PERSON};
use crate::protocol::telegram::freeze::ONE_CHAT;
use crate::protocol::values::ids::UnixMillis;

/// What was answered, in the words of no messenger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done: somebody was resolved, added, sent to; or invited, and nobody is missing.
    Accepted,
    /// It was done before, by the same call (`RANDOM_ID_DUPLICATE`, whatever its code).
    AcceptedBefore,
    /// The invitation came back with them in `missing_invitees`.
    NotAdded {
        /// They would take no message either without premium.
        is_paid: bool,
    },
    /// Too fast.
    Wait {
        /// For how long, seconds.
        seconds: u32,
    },
    /// The account is limited (`PEER_FLOOD`).
    Limited,
    /// The account is frozen or its session dead; this call was not done.
    AccountGone,
    /// The account never came to this call: certainly nothing was done.
    NotBegun,
    /// Nothing is known: a time-out, a lost connection, an error of Telegram's own.
    NoAnswer,
    /// Their privacy.
    Privacy,
    /// They want payment or premium.
    Paid,
    /// They left the group, or were removed.
    OptedOutOfGroup,
    /// They are in too many groups.
    TooManyGroups,
    /// They are in the group.
    AlreadyMember,
    /// Done or not done (`CHAT_MEMBER_ADD_FAILED`), or waiting for an admin (`INVITE_REQUEST_SENT`).
    Unclear,
    /// Nobody can be added any more.
    GroupFull,
    /// A bot.
    Bot,
    /// The account may not do this in the group.
    NoRights,
    /// They have blocked the account.
    BlockedUs,
    /// We have blocked them.
    WeBlocked,
    /// There is no such person (any more).
    NoSuchPerson,
    /// Nobody is found by that phone number.
    PhoneNotFound,
    /// Telegram wants the phone looked up later (`retry_contacts`, or an empty answer).
    LookUpLater,
    /// The account does not know them.
    UnknownPeer,
    /// The text is longer than a message.
    TextTooLong,
    /// Anything else: a mistake of ours, or a name that is new.
    Rejected,
}

/// All answers, for tests and documents.
pub const ANSWERS: [Answer; 26] = [
    Answer::Accepted,
    Answer::AcceptedBefore,
    Answer::NotAdded { is_paid: false },
    Answer::NotAdded { is_paid: true },
    Answer::Wait { seconds: 1 },
    Answer::Limited,
    Answer::AccountGone,
    Answer::NotBegun,
    Answer::NoAnswer,
    Answer::Privacy,
    Answer::Paid,
    Answer::OptedOutOfGroup,
    Answer::TooManyGroups,
    Answer::AlreadyMember,
    Answer::Unclear,
    Answer::GroupFull,
    Answer::Bot,
    Answer::NoRights,
    Answer::BlockedUs,
    Answer::WeBlocked,
    Answer::NoSuchPerson,
    Answer::PhoneNotFound,
    Answer::LookUpLater,
    Answer::UnknownPeer,
    Answer::TextTooLong,
    Answer::Rejected,
];

/// Names of Telegram's errors (<https://core.telegram.org/api/errors>) that say more than their class.
const NAMES: &[(&str, Answer)] = &[
    ("RANDOM_ID_DUPLICATE", Answer::AcceptedBefore),
    ("USER_PRIVACY_RESTRICTED", Answer::Privacy),
    ("PRIVACY_PREMIUM_REQUIRED", Answer::Paid),
    ("ALLOW_PAYMENT_REQUIRED", Answer::Paid),
    ("USER_NOT_MUTUAL_CONTACT", Answer::OptedOutOfGroup),
    ("USER_KICKED", Answer::OptedOutOfGroup),
    ("USER_CHANNELS_TOO_MUCH", Answer::TooManyGroups),
    ("USER_ALREADY_PARTICIPANT", Answer::AlreadyMember),
    ("CHAT_MEMBER_ADD_FAILED", Answer::Unclear),
    ("INVITE_REQUEST_SENT", Answer::Unclear),
    ("USERS_TOO_MUCH", Answer::GroupFull),
    ("BOT_GROUPS_BLOCKED", Answer::Bot),
    ("USER_BOT", Answer::Bot),
    ("USER_IS_BOT", Answer::Bot),
    ("BOTS_TOO_MUCH", Answer::Bot),
    ("USER_IS_BLOCKED", Answer::BlockedUs),
    ("USER_BLOCKED", Answer::BlockedUs),
    ("YOU_BLOCKED_USER", Answer::WeBlocked),
    ("INPUT_USER_DEACTIVATED", Answer::NoSuchPerson),
    ("USERNAME_NOT_OCCUPIED", Answer::NoSuchPerson),
    ("USERNAME_INVALID", Answer::NoSuchPerson),
    ("PHONE_NOT_OCCUPIED", Answer::PhoneNotFound),
    ("USER_ID_INVALID", Answer::UnknownPeer),
    ("PEER_ID_INVALID", Answer::UnknownPeer),
    ("CONTACT_ID_INVALID", Answer::UnknownPeer),
    ("PARTICIPANT_ID_INVALID", Answer::UnknownPeer),
    (NOT_A_PERSON, Answer::NoSuchPerson),
    (EMPTY_ANSWER, Answer::LookUpLater),
    ("MESSAGE_TOO_LONG", Answer::TextTooLong),
    // Our account is the one that is restricted.
    ("USER_RESTRICTED", Answer::Limited),
];

impl Answer {
    /// What a failed call at Telegram means here.
    pub fn of_failure(failure: &Failure) -> Self {
        if let Some((_, answer)) = NAMES.iter().find(|(name, _)| *name == failure.code()) {
            return *answer;
        }
        match failure {
            Failure::Wait { seconds, .. } => Self::Wait { seconds: *seconds },
            Failure::Limited => Self::Limited,
            Failure::Frozen { code } if code == ONE_CHAT => Self::NoRights,
            Failure::Frozen { .. } | Failure::Dead { .. } | Failure::Removed => Self::AccountGone,
            Failure::ChatLost { .. } => Self::NoRights,
            // The call goes to another datacenter, or what came cannot be read: it may have been done.
            Failure::Migrate { .. } | Failure::Unreadable { .. } | Failure::Transient { .. } => {
                Self::NoAnswer
            }
            Failure::TargetRefused { .. }
            | Failure::AlreadyDone { .. }
            | Failure::Rejected { .. } => Self::Rejected,
        }
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The call.
    pub step: Step,
    /// Whether an earlier call for the same may have been done.
    pub is_repeat: bool,
    /// How often it was tried, with this one.
    pub attempts: u16,
    /// Whether another account of the task knows the person.
    pub is_known_elsewhere: bool,
    /// Whether they can be looked up by a name or a number.
    pub can_be_looked_up: bool,
    /// Whether the task sends an invite link to those who cannot be added, and this person may get one: see
    /// [`may_get_link`].
    pub may_get_link: bool,
}

/// Who may try a target next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassOn {
    /// Any account that has budget left.
    Anybody,
    /// The same, after its wait.
    SameAccount,
    /// Another that knows the person.
    WhoKnowsThem,
}

/// What becomes of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetVerdict {
    /// It was found or added: its next step follows, by the account that did it.
    GoesOn,
    /// It waits again: certainly nobody was reached.
    Pending(PassOn),
    /// It could not be added, and gets the invite link as a message.
    LinkNext,
    /// It may have happened. Settled first: see [`super::settle`].
    Uncertain,
    /// Nothing follows.
    Ends(TargetStatus, Option<Reason>),
}

/// What becomes of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountVerdict {
    /// As before.
    Fine,
    /// Calls of that class wait.
    Waits {
        /// For how long.
        seconds: u32,
    },
    /// It has sent what it may in a day, whoever asks for it.
    SpentDay {
        /// When the next day begins.
        seconds: u32,
    },
    /// Nothing for a day or longer.
    Limited,
    /// It is gone.
    Blocked,
    /// It does nothing more for this task.
    OutOfTask,
    /// It rests for longer than usual.
    Slower,
    /// It looks fewer phones up.
    FewerPhones,
    /// It has found somebody by phone.
    FoundPhone,
    /// It forgets the access hash that it has of that person.
    ForgetsPeer,
}

/// What becomes of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskVerdict {
    /// It went well.
    Goes,
    /// Nothing is learnt from it: nothing was called, or the account is to blame.
    Stands,
    /// It slows down.
    Slows,
    /// Counts towards the breaker.
    CountsError,
    /// Counts towards the three that pause it.
    CountsPeerFlood,
    /// What the account had is given to others, and it pauses when none is left.
    Redistributes,
    /// It pauses.
    Pauses(PauseReason),
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// For the target.
    pub target: TargetVerdict,
    /// For the account.
    pub account: AccountVerdict,
    /// For the task.
    pub task: TaskVerdict,
    /// What is remembered of the person beyond this task.
    pub remember: Option<(Covers, Source)>,
}

/// What follows `answer` to `attempt`.
///
/// Whatever a repetition is told, it does not prove that the first try did nothing: where a first try would be
/// pending again, a repetition stays uncertain.
pub fn judge(answer: Answer, attempt: &Attempt) -> Judgement {
    let mut found = first_judgement(answer, attempt);
    if let TargetVerdict::Pending(_) = found.target {
        let is_unsure = attempt.is_repeat && attempt.step.reaches();
        let is_patient = matches!(answer, Answer::Wait { .. } | Answer::NotBegun);
        let is_worn = attempt.attempts >= ATTEMPTS_MAX && !is_patient;
        if is_unsure {
            found.target = TargetVerdict::Uncertain;
        } else if is_worn {
            found.target = ends(TargetStatus::Failed, Reason::TooManyAttempts);
        }
    }
    // Who could not be added has refused, whatever becomes of the link.
    if let (
        Step::SendLink,
        TargetVerdict::Ends(TargetStatus::Failed | TargetStatus::Skipped, reason),
    ) = (attempt.step, found.target)
    {
        found.target = TargetVerdict::Ends(TargetStatus::Refused, reason);
    }
    found
}

fn ends(status: TargetStatus, reason: Reason) -> TargetVerdict {
    TargetVerdict::Ends(status, Some(reason))
}

fn first_judgement(answer: Answer, attempt: &Attempt) -> Judgement {
    use AccountVerdict as A;
    use TargetStatus::{Failed, Refused, Skipped};
    use TargetVerdict as T;
    use TaskVerdict as K;
    let step = attempt.step;
    let waiting = if step.reaches() { PassOn::Anybody } else { PassOn::SameAccount };
    let (target, account, task) = match answer {
        Answer::Accepted if step == Step::LookUpPhone => {
            (done(step, false), A::FoundPhone, K::Goes)
        }
        Answer::Accepted => (done(step, false), A::Fine, K::Goes),
        Answer::AcceptedBefore => (done(step, true), A::Fine, K::Goes),
        Answer::NotAdded { is_paid: false } | Answer::Privacy
            if attempt.may_get_link && step == Step::Invite =>
        {
            (T::LinkNext, A::Fine, K::Goes)
        }
        Answer::NotAdded { is_paid: false } | Answer::Privacy => {
            (ends(Refused, Reason::Privacy), A::Fine, K::Goes)
        }
        Answer::NotAdded { is_paid: true } | Answer::Paid => {
            (ends(Refused, Reason::Paid), A::Fine, K::Goes)
        }
        // Limits on resolving and contacts are never passed to another account.
        Answer::Wait { seconds } => (T::Pending(waiting), A::Waits { seconds }, K::Slows),
        Answer::Limited => (ends(Failed, Reason::AccountLimited), A::Limited, K::CountsPeerFlood),
        Answer::AccountGone => (T::Pending(PassOn::Anybody), A::Blocked, K::Redistributes),
        Answer::NotBegun => (T::Pending(waiting), A::Fine, K::Stands),
        Answer::NoAnswer if step.reaches() => (T::Uncertain, A::Fine, K::CountsError),
        Answer::NoAnswer => (T::Pending(PassOn::SameAccount), A::Fine, K::CountsError),
        Answer::OptedOutOfGroup => (ends(Refused, Reason::OptedOutOfGroup), A::Fine, K::Goes),
        Answer::TooManyGroups => (ends(Failed, Reason::TooManyGroups), A::Fine, K::Goes),
        Answer::AlreadyMember if attempt.is_repeat => {
            (T::Ends(TargetStatus::Invited, None), A::Fine, K::Goes)
        }
        Answer::AlreadyMember => (ends(Skipped, Reason::AlreadyMember), A::Fine, K::Goes),
        Answer::Unclear => (T::Uncertain, A::Slower, K::CountsError),
        Answer::GroupFull => {
            (T::Pending(PassOn::Anybody), A::Fine, K::Pauses(PauseReason::GroupFull))
        }
        Answer::Bot => (ends(Skipped, Reason::Bot), A::Fine, K::Goes),
        // It may invite all the same; only a link it cannot give.
        Answer::NoRights if step == Step::SendLink => {
            (ends(Refused, Reason::Privacy), A::Fine, K::Goes)
        }
        Answer::NoRights => (T::Pending(PassOn::Anybody), A::OutOfTask, K::Redistributes),
        Answer::BlockedUs => (ends(Refused, Reason::Blocked), A::Fine, K::Goes),
        Answer::WeBlocked => (ends(Skipped, Reason::WeBlocked), A::Fine, K::Goes),
        Answer::NoSuchPerson => (ends(Failed, Reason::NotFound), A::Fine, K::Goes),
        Answer::PhoneNotFound => (ends(Failed, Reason::PhoneNotFound), A::FewerPhones, K::Goes),
        Answer::LookUpLater => {
            (T::Pending(PassOn::SameAccount), A::Waits { seconds: LOOK_UP_LATER_SECONDS }, K::Goes)
        }
        Answer::UnknownPeer if attempt.is_known_elsewhere => {
            (T::Pending(PassOn::WhoKnowsThem), A::ForgetsPeer, K::Goes)
        }
        // What the account has of them is out of date.
        Answer::UnknownPeer if attempt.can_be_looked_up && step.reaches() => {
            (T::Pending(PassOn::Anybody), A::ForgetsPeer, K::Goes)
        }
        Answer::UnknownPeer => (ends(Failed, Reason::UnknownPeer), A::ForgetsPeer, K::Goes),
        Answer::TextTooLong => {
            (ends(Failed, Reason::TextTooLong), A::Fine, K::Pauses(PauseReason::TextTooLong))
        }
        Answer::Rejected => (ends(Failed, Reason::Rejected), A::Fine, K::CountsError),
    };
    Judgement { target, account, task, remember: remembered(answer, step) }
}

/// How long an account waits before it looks phones up again when Telegram wants it later, seconds.
const LOOK_UP_LATER_SECONDS: u32 = 60 * 60;

fn done(step: Step, is_before: bool) -> TargetVerdict {
    match step {
        Step::Resolve | Step::LookUpPhone | Step::AddContact => TargetVerdict::GoesOn,
        // An invitation has no random id: nothing can say that it was done before but the group.
        Step::Invite if is_before => TargetVerdict::Uncertain,
        Step::Invite => TargetVerdict::Ends(TargetStatus::Invited, None),
        Step::Send => TargetVerdict::Ends(TargetStatus::Sent, None),
        Step::SendLink => ends(TargetStatus::Refused, Reason::LinkSent),
    }
}

/// Refusals that outlive the task.
fn remembered(answer: Answer, step: Step) -> Option<(Covers, Source)> {
    let what = if step == Step::Invite { Covers::Invitations } else { Covers::Messages };
    match answer {
        Answer::Privacy | Answer::Paid | Answer::NotAdded { .. } => Some((what, Source::Privacy)),
        Answer::OptedOutOfGroup => Some((Covers::ThisGroup, Source::Privacy)),
        Answer::BlockedUs => Some((Covers::Everything, Source::Blocked)),
        _ => None,
    }
}

/// Puts what was judged on the target. What is passed on is up to the queue ([`super::waiting`]).
///
/// # Errors
/// When its status does not allow it, which means that it was not in flight.
pub fn apply_to_target(judgement: &Judgement, target: &mut Target) -> Result<(), TargetError> {
    match judgement.target {
        TargetVerdict::GoesOn | TargetVerdict::Pending(_) => {
            target.become_status(TargetStatus::Pending, None)
        }
        TargetVerdict::LinkNext => {
            target.become_status(TargetStatus::Pending, None)?;
            target.wants_link = true;
            Ok(())
        }
        TargetVerdict::Uncertain => {
            target.become_status(TargetStatus::Uncertain, Some(Reason::NoAnswer))
        }
        TargetVerdict::Ends(status, reason) => target.become_status(status, reason),
    }
}

/// Puts what was judged on how the task fares, and answers the order that follows. `is_any_account_left`: whether
/// another account may go on. Pace, breaker and counts change; the order is the caller's to give.
pub fn apply_to_run(
    judgement: &Judgement,
    run: &mut TaskRun,
    is_any_account_left: bool,
    steady: UnixMillis,
) -> Option<Order> {
    let is_error = judgement.task == TaskVerdict::CountsError;
    let opened = match judgement.task {
        // Neither a success nor an error; a probe that was none is made again.
        TaskVerdict::Stands | TaskVerdict::Redistributes => {
            run.breaker.forget_probe(steady);
            false
        }
        _ => run.breaker.observe(is_error, steady),
    };
    let gave_up = opened && run.breaker.allows(steady) == super::pace::Allowance::GivenUp;
    let pause = |reason| Some(Order::Pause(reason));
    if let AccountVerdict::Waits { seconds } = judgement.account {
        run.trouble.waits(seconds);
    }
    match judgement.task {
        TaskVerdict::Stands => None,
        TaskVerdict::Goes => {
            TaskPace::succeed(&mut run.pace);
            run.trouble.acted();
            None
        }
        TaskVerdict::Slows => {
            run.pace.slow_down(steady);
            run.trouble.slowed();
            None
        }
        TaskVerdict::CountsError if gave_up => pause(PauseReason::MassErrors),
        TaskVerdict::CountsError => None,
        TaskVerdict::CountsPeerFlood => {
            run.peer_floods = run.peer_floods.saturating_add(1);
            if run.peer_floods >= PEER_FLOODS_MAX {
                return pause(PauseReason::PeerFlood);
            }
            if is_any_account_left { None } else { pause(PauseReason::NoAccountLeft) }
        }
        TaskVerdict::Redistributes if is_any_account_left => None,
        TaskVerdict::Redistributes => pause(PauseReason::NoAccountLeft),
        TaskVerdict::Pauses(reason) => pause(reason),
    }
}

/// Whether somebody who could not be added may get the invite link. A privacy refusal forbids it, unless they are a
/// contact who wrote first; and so does any suppression.
pub fn may_get_link(answer: Answer, is_contact_who_wrote: bool, is_suppressed: bool) -> bool {
    let is_open = match answer {
        Answer::NotAdded { is_paid } => !is_paid,
        Answer::Privacy => is_contact_who_wrote,
        _ => false,
    };
    is_open && !is_suppressed
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: Attempt = Attempt {
        step: Step::Invite,
        is_repeat: false,
        attempts: 1,
        is_known_elsewhere: false,
        can_be_looked_up: false,
        may_get_link: false,
    };

    #[test]
    fn what_never_left_is_neither_a_success_nor_an_error() {
        use crate::protocol::campaigns::caps::Caps;
        use crate::protocol::campaigns::pace::Allowance;
        use crate::protocol::campaigns::task::{Task, TaskId, TaskRequest, TaskType};
        use crate::protocol::users::owner::UserId;

        let request = TaskRequest {
            task_type: Some(TaskType::SendMessages),
            title: "May".to_owned(),
            message_template: Some("Hi".to_owned()),
            audience_basis: "they asked".to_owned(),
            ..TaskRequest::default()
        };
        let names = (TaskId(uuid::Uuid::from_u128(1)), UserId::new("ann").unwrap());
        let task = Task::new(names, request, (&Caps::default(), false), UnixMillis(0)).unwrap();
        let mut run = TaskRun::new(&task);
        let apply = |run: &mut TaskRun, answer| {
            apply_to_run(&judge(answer, &INVITE), run, true, UnixMillis(0))
        };
        while run.breaker.allows(UnixMillis(0)) == Allowance::All {
            apply(&mut run, Answer::Rejected);
        }
        let later = UnixMillis(i64::MAX / 2);
        assert_eq!(run.breaker.allows(later), Allowance::Probe);
        for answer in [Answer::NotBegun, Answer::AccountGone] {
            run.breaker.probe();
            apply(&mut run, answer);
            assert_eq!(run.breaker.allows(later), Allowance::Probe, "{answer:?} proves nothing");
        }
        run.breaker.probe();
        apply(&mut run, Answer::Accepted);
        assert_eq!(run.breaker.allows(later), Allowance::All);
        let pace = run.pace;
        apply(&mut run, Answer::NotBegun);
        assert_eq!(run.pace, pace, "nor does it make the task faster");
    }

    fn of(code: i32, name: &str, value: Option<u32>) -> Answer {
        Answer::of_failure(&Failure::from_rpc(code, name, value))
    }

    type Row = (i32, &'static str, TargetVerdict, AccountVerdict, TaskVerdict);

    /// Every row of the contract's table, as a first try of an invitation.
    fn rows() -> Vec<Row> {
        use AccountVerdict as A;
        use TargetStatus::{Failed, Refused, Skipped};
        use TaskVerdict as K;
        let pending = TargetVerdict::Pending(PassOn::Anybody);
        let goes = |name, status, reason| (400, name, ends(status, reason), A::Fine, K::Goes);
        vec![
            (420, "FLOOD_WAIT", pending, A::Waits { seconds: 7 }, K::Slows),
            (
                400,
                "PEER_FLOOD",
                ends(Failed, Reason::AccountLimited),
                A::Limited,
                K::CountsPeerFlood,
            ),
            (420, "FROZEN_METHOD_INVALID", pending, A::Blocked, K::Redistributes),
            (401, "AUTH_KEY_UNREGISTERED", pending, A::Blocked, K::Redistributes),
            (401, "SESSION_REVOKED", pending, A::Blocked, K::Redistributes),
            (-503, "Timeout", TargetVerdict::Uncertain, A::Fine, K::CountsError),
            (500, "WHATEVER", TargetVerdict::Uncertain, A::Fine, K::CountsError),
            (403, "USER_PRIVACY_RESTRICTED", ends(Refused, Reason::Privacy), A::Fine, K::Goes),
            (406, "PRIVACY_PREMIUM_REQUIRED", ends(Refused, Reason::Paid), A::Fine, K::Goes),
            goes("ALLOW_PAYMENT_REQUIRED", Refused, Reason::Paid),
            goes("USER_NOT_MUTUAL_CONTACT", Refused, Reason::OptedOutOfGroup),
            goes("USER_KICKED", Refused, Reason::OptedOutOfGroup),
            goes("USER_CHANNELS_TOO_MUCH", Failed, Reason::TooManyGroups),
            goes("USER_ALREADY_PARTICIPANT", Skipped, Reason::AlreadyMember),
            (400, "CHAT_MEMBER_ADD_FAILED", TargetVerdict::Uncertain, A::Slower, K::CountsError),
            (400, "INVITE_REQUEST_SENT", TargetVerdict::Uncertain, A::Slower, K::CountsError),
            (400, "USERS_TOO_MUCH", pending, A::Fine, K::Pauses(PauseReason::GroupFull)),
            goes("BOT_GROUPS_BLOCKED", Skipped, Reason::Bot),
            goes("USER_BOT", Skipped, Reason::Bot),
            goes("BOTS_TOO_MUCH", Skipped, Reason::Bot),
            (400, "CHAT_ADMIN_REQUIRED", pending, A::OutOfTask, K::Redistributes),
            (403, "CHAT_WRITE_FORBIDDEN", pending, A::OutOfTask, K::Redistributes),
            (400, "USER_BANNED_IN_CHANNEL", pending, A::OutOfTask, K::Redistributes),
            (400, "CHANNEL_PRIVATE", pending, A::OutOfTask, K::Redistributes),
            goes("USER_IS_BLOCKED", Refused, Reason::Blocked),
            goes("YOU_BLOCKED_USER", Skipped, Reason::WeBlocked),
            goes("INPUT_USER_DEACTIVATED", Failed, Reason::NotFound),
            goes("USERNAME_NOT_OCCUPIED", Failed, Reason::NotFound),
            goes("USERNAME_INVALID", Failed, Reason::NotFound),
            goes("NOT_A_PERSON", Failed, Reason::NotFound),
            (
                400,
                "PHONE_NOT_OCCUPIED",
                ends(Failed, Reason::PhoneNotFound),
                A::FewerPhones,
                K::Goes,
            ),
            (400, "USER_ID_INVALID", ends(Failed, Reason::UnknownPeer), A::ForgetsPeer, K::Goes),
            (400, "PEER_ID_INVALID", ends(Failed, Reason::UnknownPeer), A::ForgetsPeer, K::Goes),
            (
                400,
                "MESSAGE_TOO_LONG",
                ends(Failed, Reason::TextTooLong),
                A::Fine,
                K::Pauses(PauseReason::TextTooLong),
            ),
            (400, "SOMETHING_NEW", ends(Failed, Reason::Rejected), A::Fine, K::CountsError),
        ]
    }

    #[test]
    fn every_row_of_the_contracts_table_holds() {
        for (code, name, target, account, task) in rows() {
            let value = (code == 420).then_some(7);
            let found = judge(of(code, name, value), &INVITE);
            assert_eq!(
                (found.target, found.account, found.task),
                (target, account, task),
                "{name}"
            );
        }
        let missing = judge(Answer::NotAdded { is_paid: false }, &INVITE);
        assert_eq!(missing.target, ends(TargetStatus::Refused, Reason::Privacy));
        let elsewhere = Attempt { is_known_elsewhere: true, ..INVITE };
        let passed = judge(Answer::UnknownPeer, &elsewhere);
        assert_eq!(passed.target, TargetVerdict::Pending(PassOn::WhoKnowsThem));
        for code in [400, 420, 500] {
            let send = Attempt { step: Step::Send, ..INVITE };
            let sent = judge(of(code, "RANDOM_ID_DUPLICATE", None), &send);
            assert_eq!(sent.target, TargetVerdict::Ends(TargetStatus::Sent, None), "{code}");
        }
    }

    #[test]
    fn every_name_of_the_table_means_the_same_whatever_its_number_and_class() {
        use Answer as A;
        let paid = Failure::from_rpc(403, "ALLOW_PAYMENT_REQUIRED", Some(50));
        let class = Failure::TargetRefused { code: "ALLOW_PAYMENT_REQUIRED".into() };
        assert_eq!((Answer::of_failure(&paid), paid), (A::Paid, class), "nothing is ever paid");
        // The codes are those that Telegram's pages of methods name, and others that people have met.
        let named = [
            (&[403, 400][..], "USER_PRIVACY_RESTRICTED", A::Privacy),
            (&[406, 403, 400], "PRIVACY_PREMIUM_REQUIRED", A::Paid),
            (&[403, 400], "USER_NOT_MUTUAL_CONTACT", A::OptedOutOfGroup),
            (&[400], "USER_KICKED", A::OptedOutOfGroup),
            (&[403, 400], "USER_CHANNELS_TOO_MUCH", A::TooManyGroups),
            (&[400], "USER_ALREADY_PARTICIPANT", A::AlreadyMember),
            (&[400], "CHAT_MEMBER_ADD_FAILED", A::Unclear),
            (&[400], "INVITE_REQUEST_SENT", A::Unclear),
            (&[400], "USERS_TOO_MUCH", A::GroupFull),
            (&[400], "BOT_GROUPS_BLOCKED", A::Bot),
            (&[400, 403], "USER_BOT", A::Bot),
            (&[400], "BOTS_TOO_MUCH", A::Bot),
            (&[400, 403], "CHAT_ADMIN_REQUIRED", A::NoRights),
            (&[400, 403], "CHAT_WRITE_FORBIDDEN", A::NoRights),
            (&[400], "USER_BANNED_IN_CHANNEL", A::NoRights),
            (&[400, 406], "CHANNEL_PRIVATE", A::NoRights),
            (&[400], "USER_NOT_PARTICIPANT", A::NoRights),
            (&[400, 403], "USER_IS_BLOCKED", A::BlockedUs),
            (&[400], "YOU_BLOCKED_USER", A::WeBlocked),
            (&[400], "INPUT_USER_DEACTIVATED", A::NoSuchPerson),
            (&[400], "USERNAME_NOT_OCCUPIED", A::NoSuchPerson),
            (&[400], "USERNAME_INVALID", A::NoSuchPerson),
            (&[400], "NOT_A_PERSON", A::NoSuchPerson),
            (&[400], "PHONE_NOT_OCCUPIED", A::PhoneNotFound),
            (&[400], "EMPTY_ANSWER", A::LookUpLater),
            (&[400], "USER_ID_INVALID", A::UnknownPeer),
            (&[400], "PEER_ID_INVALID", A::UnknownPeer),
            (&[400], "CONTACT_ID_INVALID", A::UnknownPeer),
            (&[400], "PARTICIPANT_ID_INVALID", A::UnknownPeer),
            (&[400], "MESSAGE_TOO_LONG", A::TextTooLong),
            (&[420, 400, 406], "FROZEN_METHOD_INVALID", A::AccountGone),
            (&[401], "SESSION_REVOKED", A::AccountGone),
            (&[400, 406], "PEER_FLOOD", A::Limited),
            (&[-503, 500], "TIMEOUT", A::NoAnswer),
        ];
        for (codes, name, answer) in named {
            for code in codes {
                assert_eq!(of(*code, name, None), answer, "{code} {name}");
            }
        }
        assert_eq!(of(420, "FLOOD_WAIT", Some(7)), A::Wait { seconds: 7 });
        assert_eq!(of(420, "FLOOD_PREMIUM_WAIT", Some(7)), A::Wait { seconds: 7 });
    }

    #[test]
    fn waits_on_resolving_and_contacts_are_never_passed_on() {
        for step in [Step::Resolve, Step::LookUpPhone, Step::AddContact] {
            let attempt = Attempt { step, ..INVITE };
            let found = judge(Answer::Wait { seconds: 9 }, &attempt);
            assert_eq!(found.target, TargetVerdict::Pending(PassOn::SameAccount));
            assert_eq!(
                judge(Answer::LookUpLater, &attempt).target,
                TargetVerdict::Pending(PassOn::SameAccount)
            );
            assert_eq!(judge(Answer::Accepted, &attempt).target, TargetVerdict::GoesOn);
        }
    }

    #[test]
    fn nothing_that_a_repetition_is_told_proves_that_the_first_try_did_nothing() {
        for step in [Step::Invite, Step::Send, Step::SendLink] {
            for answer in ANSWERS {
                let found = judge(answer, &Attempt { is_repeat: true, step, ..INVITE });
                assert!(!matches!(found.target, TargetVerdict::Pending(_)), "{step:?} {answer:?}");
            }
        }
        let again = Attempt { is_repeat: true, ..INVITE };
        assert_eq!(
            judge(Answer::AlreadyMember, &again).target,
            TargetVerdict::Ends(TargetStatus::Invited, None)
        );
    }

    #[test]
    fn refusals_are_remembered_for_what_they_are() {
        let of = |answer, step| judge(answer, &Attempt { step, ..INVITE }).remember;
        assert_eq!(of(Answer::BlockedUs, Step::Send), Some((Covers::Everything, Source::Blocked)));
        assert_eq!(of(Answer::Privacy, Step::Invite), Some((Covers::Invitations, Source::Privacy)));
        assert_eq!(of(Answer::Paid, Step::Send), Some((Covers::Messages, Source::Privacy)));
        assert_eq!(
            of(Answer::OptedOutOfGroup, Step::Invite),
            Some((Covers::ThisGroup, Source::Privacy))
        );
        assert_eq!(of(Answer::Accepted, Step::Send), None);
    }

    #[test]
    fn who_could_not_be_added_gets_the_link_once_and_has_refused() {
        let allowed = Attempt { may_get_link: true, ..INVITE };
        let missing = Answer::NotAdded { is_paid: false };
        assert_eq!(judge(missing, &allowed).target, TargetVerdict::LinkNext);
        let link = Attempt { step: Step::SendLink, ..allowed };
        for answer in ANSWERS {
            let found = judge(answer, &link).target;
            let is_fit = matches!(
                found,
                TargetVerdict::Ends(TargetStatus::Refused, _)
                    | TargetVerdict::Pending(_)
                    | TargetVerdict::Uncertain
                    | TargetVerdict::Ends(TargetStatus::Invited, _)
            );
            assert!(is_fit, "{answer:?} {found:?}");
        }
        assert!(may_get_link(missing, false, false) && !may_get_link(missing, false, true));
        assert!(
            !may_get_link(Answer::Privacy, false, false)
                && may_get_link(Answer::Privacy, true, false)
        );
        assert!(!may_get_link(Answer::NotAdded { is_paid: true }, true, false));
    }
}
