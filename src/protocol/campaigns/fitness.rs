//! Whether somebody may be contacted now, and what they are written: the one check of a running campaign, right before
//! each action, and of the dry run. Pure; what is known of the person is given.

use super::identity::{Country, Hint, Identifier};
use super::quiet::HeldBy;
use super::respect::{Contacted, KnownAs, ListTag, Refusal, recontact_until};
use super::settings::Settings;
use super::target::{Details, Reason, Step, Target, TargetStatus};
use super::task::TaskId;
use super::text::{RenderError, Rendered, Template};
use super::zone::Zone;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::values::ids::UnixMillis;

/// What a task says of whom it contacts.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The task.
    pub task: TaskId,
    /// What it comes to for each person.
    pub goal: Step,
    /// Where people are invited to.
    pub group: Option<MarkedId>,
    /// What that group was before it moved: who wants nothing of the one wants nothing of the other.
    pub former_group: Option<MarkedId>,
    /// The list of its user.
    pub list: ListTag,
    /// Days during which nobody is contacted by two tasks; 0: the task's user has chosen otherwise.
    pub recontact_days: u32,
    /// Its text.
    pub template: Option<&'a Template>,
    /// A line below the text that tells how to opt out.
    pub opt_out_line: Option<&'a str>,
    /// When people may be contacted.
    pub settings: &'a Settings,
    /// Now, on the wall clock.
    pub wall: UnixMillis,
    /// Now, on the steady timeline.
    pub steady: UnixMillis,
}

/// What is known of a person.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// All refusals under any of their names, on whosever list.
    pub refusals: &'a [Refusal],
    /// When a task reached them last.
    pub contacted: Option<&'a Contacted>,
    /// Another target of the task is the same person.
    pub is_another: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are contacted, and written this.
    Go(Option<Rendered>),
    /// They are, but not at this time where they are.
    Later(HeldBy),
    /// They are not.
    Skip(TargetStatus, Reason),
    /// There is nothing to be done for them any more.
    Gone,
}

/// All that a target is known by for certain: under these names a refusal is written down.
pub fn known_as(target: &Target) -> KnownAs {
    let mut known = KnownAs::named(&target.identifier);
    if let Some(person) = target.person {
        known.learn(&Identifier::Id(person));
    }
    known
}

/// Under what names refusals of a target may lie: beside the certain ones also those that came with the list or were
/// met at the messenger.
pub fn names_of(target: &Target, country: Option<Country>) -> Vec<Identifier> {
    let known = known_as(target);
    let certain = known.identifiers().chain(target.names.iter().cloned());
    all_names(certain, target.details.as_deref(), country)
}

/// The same of somebody who is no target yet: `certain` are the names that are known to be theirs.
pub fn all_names(
    certain: impl IntoIterator<Item = Identifier>,
    details: Option<&Details>,
    country: Option<Country>,
) -> Vec<Identifier> {
    let username = details.and_then(|known| known.username.as_deref());
    let phone = details.and_then(|known| known.phone.as_deref());
    let more = [(username, Hint::Username), (phone, Hint::Phone)];
    let parse = |(text, hint): (Option<&str>, Hint)| Identifier::parse(text?, hint, country).ok();
    let mut names: Vec<Identifier> = certain.into_iter().collect();
    names.extend(more.into_iter().filter_map(parse));
    names.sort_unstable();
    names.dedup();
    names
}

impl Rules<'_> {
    /// Whether a person may be contacted by `step`, and what they are written.
    pub fn verdict(&self, target: &Target, step: Step, seen: &Seen<'_>) -> Verdict {
        if !matches!(target.status, TargetStatus::Pending | TargetStatus::Uncertain) {
            return Verdict::Gone;
        }
        let skip = |reason| Verdict::Skip(TargetStatus::Skipped, reason);
        // Whoever refuses what it comes to is not even looked up.
        let goal = if step.reaches() { step } else { self.goal };
        let groups = [self.group, self.former_group];
        let forbids = |refusal: &&Refusal| {
            groups.iter().any(|group| refusal.forbids(self.list, goal, *group))
        };
        let mut forbidding = seen.refusals.iter().filter(forbids).peekable();
        if forbidding.peek().is_some() {
            let is_held = forbidding.all(|refusal| refusal.is_doubtful);
            return skip(if is_held { Reason::HeldForReview } else { Reason::Suppressed });
        }
        let recent =
            recontact_until(seen.contacted, self.task, self.recontact_days, self.steady).is_some();
        if step.reaches() && recent {
            return skip(Reason::Recontact);
        }
        if seen.is_another {
            return skip(Reason::Duplicate);
        }
        let text = match step {
            Step::Send => match self.text_for(target) {
                Ok(text) => Some(text),
                Err(RenderError::TooLong(_)) => {
                    return Verdict::Skip(TargetStatus::Failed, Reason::TextTooLong);
                }
                Err(RenderError::Missing(_) | RenderError::Empty) => {
                    return skip(Reason::MissingValue);
                }
            },
            _ => None,
        };
        // Whoever is looked up at night would be contacted at once when they are found.
        self.held_by(target).map_or(Verdict::Go(text), Verdict::Later)
    }

    /// What keeps a person from being contacted at this time, where they are.
    fn held_by(&self, target: &Target) -> Option<HeldBy> {
        let person = target.zone().and_then(|name| Zone::named(name).ok());
        self.settings.contact_times(person.as_ref(), &Zone::utc()).held_by(self.wall)
    }

    /// What somebody is written.
    ///
    /// # Errors
    /// When a value is missing, or the text does not fit into a message.
    pub fn text_for(&self, target: &Target) -> Result<Rendered, RenderError> {
        let shown = target.identifier.to_string();
        let template = self.template.ok_or(RenderError::Empty)?;
        let rendered = template.render(&target.values(&shown))?;
        match self.opt_out_line {
            Some(line) => rendered.with_line(line),
            None => Ok(rendered),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::respect::{Covers, Source, SuppressionKey};
    use crate::protocol::campaigns::target::{Details, TargetId};

    #[test]
    fn refusals_lie_under_every_name_that_came_with_somebody() {
        let details = Details {
            username: Some("Durov".into()),
            phone: Some("8 999 123-45-67".into()),
            ..Details::default()
        };
        let target = Target {
            person: Some(7),
            ..Target::new(TargetId(0), Identifier::Username("durov".into()), Some(details))
        };
        let names = names_of(&target, Country::named("RU"));
        let expected = [
            Identifier::Id(7),
            Identifier::Username("durov".into()),
            Identifier::Phone(79_991_234_567),
        ];
        assert!(names.len() == 3 && expected.iter().all(|name| names.contains(name)), "{names:?}");
        assert_eq!(
            known_as(&target).identifiers().count(),
            2,
            "the phone is only said to be theirs"
        );
    }

    #[test]
    fn the_reasons_come_in_the_order_of_their_weight() {
        let template = Template::parse("Hi {first_name}", None).unwrap();
        let rules = Rules {
            task: TaskId(Uuid::from_u128(1)),
            goal: Step::Send,
            group: None,
            former_group: None,
            list: ListTag::INSTALLATION,
            recontact_days: 30,
            template: Some(&template),
            opt_out_line: None,
            settings: &Settings::default(),
            wall: UnixMillis(0),
            steady: UnixMillis(1_000_000),
        };
        let contacted = Contacted { task: TaskId(Uuid::from_u128(2)), at: UnixMillis(999_000) };
        let recent = Seen { contacted: Some(&contacted), ..Seen::default() };
        let target = Target::new(TargetId(0), Identifier::Id(7), None);
        let skip = |reason| Verdict::Skip(TargetStatus::Skipped, reason);
        let ask = |step, seen: &Seen<'_>| rules.verdict(&target, step, seen);
        assert_eq!(ask(Step::Send, &recent), skip(Reason::Recontact));
        // Who is only looked up is not contacted yet.
        assert_eq!(ask(Step::Resolve, &recent), Verdict::Go(None));
        let twice = Seen { is_another: true, ..Seen::default() };
        assert_eq!(ask(Step::Resolve, &twice), skip(Reason::Duplicate));
        assert_eq!(ask(Step::Send, &Seen::default()), skip(Reason::MissingValue));
        assert_eq!(ask(Step::Invite, &Seen::default()), Verdict::Go(None));
        let own = Rules { recontact_days: 0, ..rules };
        assert_eq!(own.verdict(&target, Step::Invite, &recent), Verdict::Go(None));
        let doubtful = Refusal {
            key: SuppressionKey([0; 32]),
            list: ListTag::INSTALLATION,
            covers: Covers::Everything,
            group: None,
            source: Source::StopReply,
            is_doubtful: true,
            since: UnixMillis(0),
            entry: None,
        };
        let held = [doubtful];
        let held = Seen { refusals: &held, ..recent };
        assert_eq!(ask(Step::Send, &held), skip(Reason::HeldForReview));
        let certain = [doubtful, Refusal { is_doubtful: false, ..doubtful }];
        let certain = Seen { refusals: &certain, ..recent };
        assert_eq!(ask(Step::Resolve, &certain), skip(Reason::Suppressed));
        let sent = Target { status: TargetStatus::Sent, ..target.clone() };
        assert_eq!(rules.verdict(&sent, Step::Send, &Seen::default()), Verdict::Gone);
    }

    #[test]
    fn a_person_is_contacted_by_the_clock_where_they_are() {
        let hours = r#"{"quiet_hours":{"from":"22:00","to":"08:00","zone":"Europe/Berlin"}}"#;
        let settings: Settings = serde_json::from_str(hours).unwrap();
        let rules = |wall| Rules {
            task: TaskId(Uuid::from_u128(1)),
            goal: Step::Invite,
            group: None,
            former_group: None,
            list: ListTag::INSTALLATION,
            recontact_days: 30,
            template: None,
            opt_out_line: None,
            settings: &settings,
            wall,
            steady: UnixMillis(0),
        };
        let of = |zone: Option<&str>| {
            let details = Details { zone: zone.map(Into::into), ..Details::default() };
            Target::new(TargetId(0), Identifier::Id(7), Some(details))
        };
        let (go, later) = (Verdict::Go(None), Verdict::Later(HeldBy::QuietHours));
        // Noon in Berlin, night in Los Angeles, and the other way round.
        let (noon, night) = (UnixMillis(1_795_258_800_000), UnixMillis(1_795_302_000_000));
        for (zone, by_day, by_night) in [
            (None, &go, &later),
            (Some("America/Los_Angeles"), &later, &go),
            (Some("Asia/Tokyo"), &go, &go),
            // A name that there is no more is as good as none.
            (Some("Mars/Olympus"), &go, &later),
        ] {
            let (target, seen) = (of(zone), Seen::default());
            assert_eq!(&rules(noon).verdict(&target, Step::Invite, &seen), by_day, "{zone:?}");
            assert_eq!(&rules(night).verdict(&target, Step::Resolve, &seen), by_night, "{zone:?}");
        }
        // Whoever is not contacted at all is told so at any time.
        let twice = Seen { is_another: true, ..Seen::default() };
        let skipped = Verdict::Skip(TargetStatus::Skipped, Reason::Duplicate);
        assert_eq!(rules(night).verdict(&of(None), Step::Invite, &twice), skipped);
    }
}
