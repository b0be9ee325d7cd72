//! What changed, with the view of it that those are told who may see it. Plain data.

use std::fmt;
use std::sync::Arc;

use crate::protocol::answers::account::AccountInfo;
use crate::protocol::answers::campaign::CampaignChange;
use crate::protocol::answers::login::LoginInfo;
use crate::protocol::answers::monitor::MonitorChange;
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::telegram::chat::ChatSpelling;
use crate::protocol::users::owner::AccountId;

/// What changed. Of two that are equal the second is no news. May hold a login's link: `Debug` tells the kind
/// only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum FeedEvent {
    /// An account looks like this now.
    Account(AccountInfo),
    /// An account is gone.
    AccountRemoved(AccountId),
    /// A login looks like this now.
    Login(LoginInfo),
    /// A monitor looks like this now.
    Monitor(MonitorChange),
    /// The monitor of this chat, as it was asked for, is gone.
    MonitorRemoved(ChatSpelling),
    /// A campaign looks like this now.
    Campaign(CampaignChange),
    /// A campaign is gone.
    CampaignRemoved(TaskId),
    /// Changes were forgotten that the follower has not seen: what is known has to be fetched anew.
    Reset,
}

impl fmt::Debug for FeedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account(_) => "Account",
            Self::AccountRemoved(_) => "AccountRemoved",
            Self::Login(_) => "Login",
            Self::Monitor(_) => "Monitor",
            Self::MonitorRemoved(_) => "MonitorRemoved",
            Self::Campaign(_) => "Campaign",
            Self::CampaignRemoved(_) => "CampaignRemoved",
            Self::Reset => "Reset",
        })
    }
}

/// Something that changed, for those who follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its id in the feed, for resuming.
    pub id: String,
    /// What it is.
    pub event: Arc<FeedEvent>,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::logins::steps::LoginState;
    use crate::protocol::users::owner::LoginId;
    use crate::protocol::values::fingerprint::Fingerprint;
    use crate::protocol::values::ids::UnixMillis;
    use crate::protocol::values::secret::SecretText;

    fn login(link: &str) -> FeedEvent {
        FeedEvent::Login(LoginInfo {
            id: LoginId(Uuid::nil()),
            state: LoginState::WaitingScan,
            expires_at: UnixMillis(1_000),
            account: None,
            previous_session: None,
            code: None,
            hint: None,
            email_pattern: None,
            link: Some((SecretText::new(link.to_owned()), UnixMillis(500))),
            error: None,
        })
    }

    #[test]
    fn a_login_with_another_link_is_news_and_no_link_is_shown() {
        assert!(!format!("{:?}", login("SWORDFISH")).contains("SWORDFISH"));
        let look = |link| Fingerprint::of_value(&login(link));
        assert_eq!(look("one"), look("one"));
        assert_ne!(look("one"), look("two"));
    }
}
