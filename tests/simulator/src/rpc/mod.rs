//! API methods: from a request's bytes to its result's bytes.
//!
//! Owns the table of known methods and who may call them. Handlers are plain functions over the
//! world; faults, flood waits and dead keys are decided before they are reached.

mod auth;
mod bots;
pub(crate) mod call;
mod channels;
mod contacts;
mod dialogs;
mod groups;
mod help;
mod invites;
mod inviting;
mod logins;
mod messages;
mod participants;
mod password;
mod peers;
mod qr;
mod recovery;
mod request;
mod sending;
mod updates;
mod users;

use std::sync::Arc;

use grammers_tl_types::{Cursor, Deserializable, RemoteCall, Serializable, functions as f};

pub(crate) use self::request::Request;
use crate::error::RpcError;
use crate::server::link::Link;
use crate::world::World;
use crate::world::dcs::HOME_DC;

/// What a handler answers.
type Answer<R> = Result<<R as RemoteCall>::Return, RpcError>;

/// One call, made by somebody who is logged in.
struct Call<'w> {
    world: &'w mut World,
    /// Who calls.
    me: i64,
    /// The connection the answer goes to; it gets no update about what the answer says.
    origin: u64,
}

/// One call that needs nobody to be logged in.
struct Visit<'w> {
    world: &'w mut World,
    key_id: i64,
    /// The datacenter that is asked.
    dc: i32,
}

/// Where a call comes from.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'l> {
    pub(crate) key_id: i64,
    pub(crate) user: Option<i64>,
    pub(crate) link: &'l Arc<Link>,
}

/// Methods that a frozen account may not call.
const CHANGING: &[&str] = &[
    "channels.inviteToChannel",
    "channels.joinChannel",
    "contacts.addContact",
    "contacts.importContacts",
    "messages.addChatUser",
    "messages.exportChatInvite",
    "messages.importChatInvite",
    "messages.sendMessage",
];

/// Methods that may be called without being logged in.
pub(crate) fn needs_no_login(method: &str) -> bool {
    method.starts_with("help.") || method.starts_with("auth.") && method != "auth.acceptLoginToken"
}

/// Runs the handler of a method; the macro writes the table.
macro_rules! methods {
    ($id:expr, $body:expr, $call:expr; $($method:path => $handler:path,)*) => {
        match $id {
            $(<$method as grammers_tl_types::Identifiable>::CONSTRUCTOR_ID => {
                let request = <$method>::deserialize(&mut Cursor::from_slice($body))
                    .map_err(|_| RpcError::named("INPUT_FETCH_ERROR"))?;
                let answer: Answer<$method> = $handler($call, request);
                Some(answer?.to_bytes())
            })*
            _ => None,
        }
    };
}

/// Executes a call. Unknown methods are counted and refused as Telegram refuses them.
pub(crate) fn execute(
    world: &mut World,
    caller: Caller,
    request: &Request,
) -> Result<Vec<u8>, RpcError> {
    let dc = world.keys.get(&caller.key_id).map_or(HOME_DC, |record| record.dc);
    // Somebody proved who they are, and the password was not given yet.
    let is_pending = world.keys.get(&caller.key_id).is_some_and(|record| record.pending.is_some());
    let mut visit = Visit { world: &mut *world, key_id: caller.key_id, dc };
    if let Some(answer) = receive(&mut visit, request)? {
        return Ok(answer);
    }
    let answer = match caller.user {
        // Source: <https://core.telegram.org/api/auth#frozen-accounts>.
        Some(me) if CHANGING.contains(&request.method) && world.user(me).frozen.is_some() => {
            return Err("FROZEN_METHOD_INVALID".into());
        }
        Some(me) => {
            let mut call = Call { world: &mut *world, me, origin: caller.link.id };
            dispatch(&mut call, request)?
        }
        None if needs_no_login(request.method) => None,
        None if is_pending => return Err("SESSION_PASSWORD_NEEDED".into()),
        None => return Err("AUTH_KEY_UNREGISTERED".into()),
    };
    answer.ok_or_else(|| {
        let name = match request.method {
            "(unknown)" => format!("{:#010x}", request.id),
            known => known.to_owned(),
        };
        *world.counters.unknown_methods.entry(name).or_default() += 1;
        RpcError::named(format!("INPUT_METHOD_INVALID_{}", request.id))
    })
}

/// What anybody may call.
fn receive(visit: &mut Visit, request: &Request) -> Result<Option<Vec<u8>>, RpcError> {
    Ok(methods! { request.id, request.body, visit;
        f::account::GetPassword => password::get_password,
        f::auth::CancelCode => logins::cancel_code,
        f::auth::CheckPassword => password::check_password,
        f::auth::CheckRecoveryPassword => recovery::check_recovery_password,
        f::auth::ExportLoginToken => qr::export_login_token,
        f::auth::ImportBotAuthorization => bots::import_bot_authorization,
        f::auth::ImportLoginToken => qr::import_login_token,
        f::auth::LogOut => auth::log_out,
        f::auth::RecoverPassword => recovery::recover_password,
        f::auth::RequestPasswordRecovery => recovery::request_password_recovery,
        f::auth::ResendCode => logins::resend_code,
        f::auth::SendCode => logins::send_code,
        f::auth::SignIn => logins::sign_in,
        f::help::GetAppConfig => help::get_app_config,
        f::help::GetConfig => help::get_config,
        f::help::GetNearestDc => help::get_nearest_dc,
    })
}

/// What only those who are logged in may call.
fn dispatch(call: &mut Call, request: &Request) -> Result<Option<Vec<u8>>, RpcError> {
    Ok(methods! { request.id, request.body, call;
        f::account::UpdateStatus => auth::update_status,
        f::auth::AcceptLoginToken => qr::accept_login_token,
        f::channels::GetChannels => channels::get_channels,
        f::channels::GetFullChannel => channels::get_full_channel,
        f::channels::GetMessages => messages::get_channel_messages,
        f::channels::GetParticipant => participants::get_participant,
        f::channels::GetParticipants => participants::get_participants,
        f::channels::InviteToChannel => inviting::invite_to_channel,
        f::channels::JoinChannel => channels::join_channel,
        f::channels::LeaveChannel => channels::leave_channel,
        f::channels::ReadHistory => channels::read_history,
        f::contacts::AddContact => contacts::add_contact,
        f::contacts::Block => contacts::block,
        f::contacts::DeleteByPhones => contacts::delete_by_phones,
        f::contacts::DeleteContacts => contacts::delete_contacts,
        f::contacts::GetBlocked => contacts::get_blocked,
        f::contacts::GetContacts => contacts::get_contacts,
        f::contacts::ImportContacts => contacts::import_contacts,
        f::contacts::ResolvePhone => contacts::resolve_phone,
        f::contacts::ResolveUsername => contacts::resolve_username,
        f::contacts::Unblock => contacts::unblock,
        f::messages::AddChatUser => inviting::add_chat_user,
        f::messages::CheckChatInvite => invites::check_chat_invite,
        f::messages::DeleteChatUser => groups::delete_chat_user,
        f::messages::ExportChatInvite => invites::export_chat_invite,
        f::messages::GetAllDrafts => dialogs::get_all_drafts,
        f::messages::GetChatInviteImporters => invites::get_chat_invite_importers,
        f::messages::GetChats => groups::get_chats,
        f::messages::GetDialogs => dialogs::get_dialogs,
        f::messages::GetExportedChatInvite => invites::get_exported_chat_invite,
        f::messages::GetExportedChatInvites => invites::get_exported_chat_invites,
        f::messages::GetFullChat => groups::get_full_chat,
        f::messages::GetHistory => messages::get_history,
        f::messages::GetMessages => messages::get_messages,
        f::messages::GetPeerDialogs => dialogs::get_peer_dialogs,
        f::messages::HideChatJoinRequest => invites::hide_chat_join_request,
        f::messages::ImportChatInvite => invites::import_chat_invite,
        f::messages::ReadHistory => messages::read_history,
        f::messages::SendMessage => sending::send_message,
        f::updates::GetChannelDifference => updates::get_channel_difference,
        f::updates::GetDifference => updates::get_difference,
        f::updates::GetState => updates::get_state,
        f::users::GetFullUser => users::get_full_user,
        f::users::GetRequirementsToContact => users::get_requirements_to_contact,
        f::users::GetUsers => users::get_users,
    })
}

impl Call<'_> {
    fn forbid_bots(&self) -> Result<(), RpcError> {
        if self.world.user(self.me).is_bot() { Err("BOT_METHOD_INVALID".into()) } else { Ok(()) }
    }
}
