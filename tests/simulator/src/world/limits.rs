//! Limits that behave like Telegram's, in one place. The numbers are what the control API says;
//! what Telegram does not document is marked where it is used.

use serde::{Deserialize, Serialize};

/// Limits that behave like Telegram's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Codes that may be asked for by `auth.sendCode` for one phone within ten minutes; the next
    /// one is answered `FLOOD_WAIT_x`. 0 is any number. The same for recovery codes of an account.
    pub codes_per_phone: u32,
    /// Wrong passwords an account takes within ten minutes; the next one, right or wrong, is
    /// answered `FLOOD_WAIT_x`. 0 is any number.
    pub wrong_passwords: u32,
    /// How long a code may be used, in seconds; also those that were sent already, and those that
    /// go out by mail.
    pub code_seconds: u32,
    /// How long a token of a QR code may be scanned, in seconds; only those that come later.
    pub token_seconds: u32,
    /// Whether a key is given the same token until it ends, however often it asks.
    pub repeat_tokens: bool,
    /// After how many seconds a code that went out by SMS may be sent again by call; asked for
    /// earlier, that is answered `FLOOD_WAIT_x`.
    pub resend_seconds: u32,
    /// Invitations an account may send before a wait; 0 is any number.
    pub invites_before_flood: u32,
    /// Messages an account may write to people who did not write first, before a wait; 0 is any
    /// number.
    pub messages_before_flood: u32,
    /// Usernames and phones an account may look up before a wait; 0 is any number.
    pub resolves_before_flood: u32,
    /// How long the first such wait is, in seconds; each further one is twice as long.
    pub flood_seconds: u32,
    /// Waits for invitations, or for messages, after which the next refusal is `PEER_FLOOD`; 0 is
    /// any number.
    pub waits_before_peer_flood: u32,
    /// Phones an account may import; those beyond come back in `retry_contacts`. 0 is any number.
    pub contacts_before_retry: u32,
    /// Phones an account may look up, by importing or resolving; from then on all are answered as
    /// if they were nobody's. 0 is any number.
    pub phones_before_silence: u32,
    /// Within so many seconds the same text to one person, under another `random_id` and by
    /// whichever account, is the violation `written_to_twice`. 0 is never.
    pub repeat_seconds: u32,
    /// Most members of a basic group.
    pub group_size: u32,
    /// Most members of a supergroup.
    pub supergroup_size: u32,
    /// Members a channel has when nobody can be added by invitation any more.
    pub channel_invites: u32,
    /// Supergroups and channels an account can be in.
    pub channels_per_account: u32,
    /// Most bots of a group.
    pub bots_per_chat: u32,
}

impl Default for Limits {
    /// Sizes as <https://limits.tginfo.me> and `help.getConfig` have them.
    fn default() -> Self {
        Self {
            codes_per_phone: 5,
            wrong_passwords: 10,
            code_seconds: 300,
            token_seconds: 30,
            repeat_tokens: false,
            resend_seconds: 60,
            invites_before_flood: 0,
            messages_before_flood: 0,
            resolves_before_flood: 0,
            flood_seconds: 5,
            waits_before_peer_flood: 2,
            contacts_before_retry: 0,
            phones_before_silence: 0,
            repeat_seconds: 0,
            group_size: 200,
            supergroup_size: 200_000,
            channel_invites: 200,
            channels_per_account: 500,
            bots_per_chat: 20,
        }
    }
}
