//! People at Telegram: found by name, phone or id, and added to an account's contacts. A phone is looked up by
//! itself (<https://core.telegram.org/method/contacts.resolvePhone>); nobody's phone is ever imported, and our own
//! is never shared. Which of these calls is worth making is its callers' affair.

use std::fmt;

use grammers_client::tl;
use grammers_client::tl::enums::{Updates, User};

use super::link::RawCaller;
use super::outcome::Outcome;
use super::peers::{input_user, marked, peer_of_user};
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::telegram::chat::{PeerKind, PeerRecord};
use crate::protocol::telegram::failure::{EMPTY_ANSWER, Failure, NOT_A_PERSON};
use crate::protocol::values::secret::SecretText;

/// Longest part of a contact's name that is sent, characters: what Telegram's own apps allow.
const NAME_MAX: usize = 64;

/// What Telegram says of a person, as one account sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonCard {
    /// Telegram's id.
    pub id: i64,
    /// Public names, without `@`, the main one first. As they are spelled; any case leads to them.
    pub usernames: Vec<String>,
    /// First name; for contacts as the account calls them.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Phone number, digits only, if the account may see it.
    pub phone: Option<SecretText>,
    /// A bot.
    pub is_bot: bool,
    /// The person's account was deleted.
    pub is_deleted: bool,
    /// Among the account's contacts.
    pub is_contact: bool,
    /// Each has the other as a contact.
    pub is_mutual_contact: bool,
}

impl PersonCard {
    /// Everything that the person can be meant by, the id first.
    pub fn identifiers(&self) -> Vec<Identifier> {
        let names = self.usernames.iter().map(|name| name.to_ascii_lowercase().into_boxed_str());
        let phone = self.phone.as_ref().and_then(|phone| phone.expose().parse().ok());
        let mut all = vec![Identifier::Id(self.id)];
        all.extend(names.map(Identifier::Username));
        all.extend(phone.map(Identifier::Phone));
        all
    }
}

/// Somebody to be added to the contacts, and what the account calls them.
#[derive(Clone, PartialEq, Eq)]
pub struct NewContact {
    /// Who.
    pub person: PeerRecord,
    /// May be blank if the last name is not.
    pub first_name: String,
    /// May be blank.
    pub last_name: String,
}

/// Without the name.
impl fmt::Debug for NewContact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewContact").field("person", &self.person.id).finish_non_exhaustive()
    }
}

/// Finds a person. `known` is what the account keeps of them, without which an id leads to nobody.
///
/// # Errors
/// [`Failure::TargetRefused`]: `NOT_A_PERSON` for a name of a group or channel; `USER_ID_INVALID` for an id that
/// the account does not know, or no longer; `EMPTY_ANSWER` when nothing is said of them;
/// `INPUT_USER_DEACTIVATED` for somebody deleted who cannot be named any more; Telegram's own.
pub(super) async fn find(
    caller: &RawCaller,
    who: &Identifier,
    known: Option<PeerRecord>,
) -> Result<Outcome, Failure> {
    match who {
        Identifier::Username(name) => {
            let username = name.to_string();
            let request = tl::functions::contacts::ResolveUsername { username, referer: None };
            picked(caller.call(&request).await?)
        }
        Identifier::Phone(digits) => {
            let request = tl::functions::contacts::ResolvePhone { phone: digits.to_string() };
            picked(caller.call(&request).await?)
        }
        Identifier::Id(id) => by_id(caller, *id, known).await,
    }
}

async fn by_id(caller: &RawCaller, id: i64, known: Option<PeerRecord>) -> Result<Outcome, Failure> {
    let peer = known.ok_or_else(|| refused("USER_ID_INVALID"))?;
    let request = tl::functions::users::GetUsers { id: vec![input_user(&peer)?] };
    // With an access hash that is not theirs nobody is answered, or somebody empty.
    let users = caller.call(&request).await?;
    let user = named(&users, id).ok_or_else(|| refused("USER_ID_INVALID"))?;
    found(user, Some(peer))
}

fn picked(answer: tl::enums::contacts::ResolvedPeer) -> Result<Outcome, Failure> {
    let tl::enums::contacts::ResolvedPeer::Peer(answer) = answer;
    let id = marked(&answer.peer);
    if id.kind() != PeerKind::User {
        return Err(refused(NOT_A_PERSON));
    }
    let user = named(&answer.users, id.bare()).ok_or_else(|| refused(EMPTY_ANSWER))?;
    found(user, None)
}

fn refused(code: &str) -> Failure {
    Failure::TargetRefused { code: code.into() }
}

fn named(users: &[User], id: i64) -> Option<&tl::types::User> {
    users.iter().find_map(|user| match user {
        User::User(user) if user.id == id => Some(user),
        _ => None,
    })
}

/// The person, if it is known how to name them.
fn found(user: &tl::types::User, known: Option<PeerRecord>) -> Result<Outcome, Failure> {
    let told = peer_of_user(&User::User(user.clone()));
    let without = if user.deleted { "INPUT_USER_DEACTIVATED" } else { EMPTY_ANSWER };
    let peer = told.or(known).ok_or_else(|| refused(without))?;
    Ok(Outcome::Person { peer, card: card(user) })
}

fn card(user: &tl::types::User) -> PersonCard {
    let filled = |name: &Option<String>| name.clone().filter(|name| !name.trim().is_empty());
    let further = user.usernames.iter().flatten().filter_map(|name| match name {
        tl::enums::Username::Username(name) if name.active => Some(name.username.clone()),
        tl::enums::Username::Username(_) => None,
    });
    let mut usernames: Vec<String> = user.username.clone().into_iter().chain(further).collect();
    usernames.dedup();
    PersonCard {
        id: user.id,
        usernames,
        first_name: filled(&user.first_name),
        last_name: filled(&user.last_name),
        phone: filled(&user.phone).map(SecretText::new),
        is_bot: user.bot,
        is_deleted: user.deleted,
        is_contact: user.contact,
        is_mutual_contact: user.mutual_contact,
    }
}

/// Adds a person to the account's contacts, or renames them there: harmless to repeat. They are not told our own
/// phone number.
///
/// # Errors
/// [`Failure::Rejected`] (`CONTACT_NAME_EMPTY`), unsent, when both parts of the name are blank;
/// [`Failure::TargetRefused`] for those who cannot be added.
pub(super) async fn add_contact(
    caller: &RawCaller,
    contact: &NewContact,
) -> Result<Outcome, Failure> {
    let (first_name, last_name) = contact_name(&contact.first_name, &contact.last_name)
        .ok_or_else(|| Failure::Rejected { code: "CONTACT_NAME_EMPTY".into() })?;
    let request = tl::functions::contacts::AddContact {
        add_phone_privacy_exception: false,
        id: input_user(&contact.person)?,
        first_name,
        last_name,
        phone: String::new(),
        note: None,
    };
    let updates = caller.call(&request).await?;
    let user = named(users_in(&updates), contact.person.id.bare());
    Ok(Outcome::ContactAdded { is_mutual: user.is_some_and(|user| user.mutual_contact) })
}

/// The parts of a contact's name as Telegram takes them: the first must not be empty, the last may
/// (<https://core.telegram.org/method/contacts.addContact>). `None` when both are blank.
pub(super) fn contact_name(first: &str, last: &str) -> Option<(String, String)> {
    let cut = |name: &str| -> String { name.trim().chars().take(NAME_MAX).collect() };
    match (cut(first), cut(last)) {
        (first, last) if first.is_empty() => Some((last, first)),
        both => Some(both),
    }
    .filter(|(first, _)| !first.is_empty())
}

fn users_in(updates: &Updates) -> &[User] {
    match updates {
        Updates::Updates(updates) => &updates.users,
        Updates::Combined(updates) => &updates.users,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
