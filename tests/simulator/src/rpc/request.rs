//! Requests out of the wrappers clients put around them.

use grammers_tl_types::deserialize::Error;
use grammers_tl_types::{Cursor, Deserializable, Identifiable, enums, functions as f, name_for_id};

/// Deepest nesting of wrappers accepted.
const MAX_WRAPPERS: usize = 8;

/// A call without its wrappers.
pub(crate) struct Request<'b> {
    pub(crate) id: u32,
    /// Full name such as `messages.sendMessage`.
    pub(crate) method: &'static str,
    /// Parameters, behind the constructor number.
    pub(crate) body: &'b [u8],
    /// Whether the connection asked not to be sent updates.
    pub(crate) without_updates: bool,
}

impl<'b> Request<'b> {
    /// Takes `invokeWithLayer`, `initConnection` and their like off.
    pub(crate) fn unwrap(mut bytes: &'b [u8]) -> Result<Self, Error> {
        let mut without_updates = false;
        for _ in 0..MAX_WRAPPERS {
            let mut cursor = Cursor::from_slice(bytes);
            let id = u32::deserialize(&mut cursor)?;
            without_updates |= id == invoke::WITHOUT_UPDATES;
            if !skip_wrapper(id, &mut cursor)? {
                return Ok(Self {
                    id,
                    method: name_for_id(id),
                    body: &bytes[4..],
                    without_updates,
                });
            }
            bytes = &bytes[cursor.pos()..];
        }
        Err(Error::UnexpectedEof)
    }
}

/// Constructor numbers of generic functions, whatever they wrap.
mod invoke {
    use super::{Identifiable, f};

    /// Stands in for the wrapped request, which does not matter here.
    type Any = f::help::GetConfig;

    pub(super) const WITH_LAYER: u32 = f::InvokeWithLayer::<Any>::CONSTRUCTOR_ID;
    pub(super) const INIT_CONNECTION: u32 = f::InitConnection::<Any>::CONSTRUCTOR_ID;
    pub(super) const WITHOUT_UPDATES: u32 = f::InvokeWithoutUpdates::<Any>::CONSTRUCTOR_ID;
    pub(super) const AFTER_MSG: u32 = f::InvokeAfterMsg::<Any>::CONSTRUCTOR_ID;
    pub(super) const AFTER_MSGS: u32 = f::InvokeAfterMsgs::<Any>::CONSTRUCTOR_ID;
    pub(super) const WITH_TAKEOUT: u32 = f::InvokeWithTakeout::<Any>::CONSTRUCTOR_ID;
    pub(super) const WITH_RANGE: u32 = f::InvokeWithMessagesRange::<Any>::CONSTRUCTOR_ID;
}

/// Moves behind a wrapper's own parameters; `false` if `id` is no wrapper.
fn skip_wrapper(id: u32, cursor: &mut Cursor) -> Result<bool, Error> {
    match id {
        invoke::WITH_LAYER => {
            i32::deserialize(cursor)?;
        }
        invoke::INIT_CONNECTION => skip_device(cursor)?,
        invoke::WITHOUT_UPDATES => {}
        invoke::AFTER_MSG | invoke::WITH_TAKEOUT => {
            i64::deserialize(cursor)?;
        }
        invoke::AFTER_MSGS => {
            Vec::<i64>::deserialize(cursor)?;
        }
        invoke::WITH_RANGE => {
            enums::MessageRange::deserialize(cursor)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The parameters of `initConnection`: flags, api id, six strings, proxy and extra parameters.
fn skip_device(cursor: &mut Cursor) -> Result<(), Error> {
    const PROXY: u32 = 1;
    const PARAMS: u32 = 2;
    let flags = u32::deserialize(cursor)?;
    i32::deserialize(cursor)?;
    for _ in 0..6 {
        String::deserialize(cursor)?;
    }
    if flags & PROXY != 0 {
        enums::InputClientProxy::deserialize(cursor)?;
    }
    if flags & PARAMS != 0 {
        enums::Jsonvalue::deserialize(cursor)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use grammers_tl_types::Serializable;

    #[test]
    fn the_wrappers_of_a_first_call_come_off() {
        let bytes = f::InvokeWithLayer {
            layer: 230,
            query: f::InvokeWithoutUpdates {
                query: f::InitConnection {
                    api_id: 1,
                    device_model: "device".into(),
                    system_version: "1".into(),
                    app_version: "1".into(),
                    system_lang_code: "en".into(),
                    lang_pack: String::new(),
                    lang_code: "en".into(),
                    proxy: None,
                    params: Some(enums::Jsonvalue::JsonNull),
                    query: f::messages::GetChats { id: vec![5] },
                },
            },
        }
        .to_bytes();
        let request = Request::unwrap(&bytes).unwrap();
        assert_eq!(request.method, "messages.getChats");
        assert!(request.without_updates);
        let inner = f::messages::GetChats::from_bytes(request.body).unwrap();
        assert_eq!(inner.id, [5]);
    }

    #[test]
    fn endless_wrapping_and_truncation_are_refused() {
        let wrapper = invoke::WITHOUT_UPDATES.to_bytes();
        assert!(Request::unwrap(&wrapper.repeat(100)).is_err());
        assert!(Request::unwrap(&wrapper).is_err());
    }
}
