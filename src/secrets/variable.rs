//! The variable `TELEWARDEN_KEY`. Owns taking it out of what the system shows of the process; never
//! decides whether it is used.

use std::ffi::{CStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;

use crate::protocol::values::secret::SecretText;

const NAME: &CStr = c"TELEWARDEN_KEY";

static HIDDEN: OnceLock<SecretText> = OnceLock::new();

/// Takes the key out of the environment and overwrites it there, so that neither
/// `/proc/<pid>/environ` nor a child shows it. (Who may read that file may also read the memory of
/// the process; but it is often copied into reports, and the memory is not.) A value that is not
/// UTF-8 is no key, and only wiped.
///
/// # Safety
/// No other thread may run yet.
pub unsafe fn hide_key_variable() {
    // SAFETY: the name ends with a zero. The answer is null or text that ends with one, which stays
    // valid as long as nobody changes the environment: nobody else runs.
    let value = unsafe { libc::getenv(NAME.as_ptr()) };
    if value.is_null() {
        return;
    }
    // SAFETY: as above. The text lies in memory of the process's own, which may be written.
    let bytes = unsafe {
        let length = CStr::from_ptr(value).to_bytes().len();
        std::slice::from_raw_parts_mut(value.cast::<u8>(), length)
    };
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.is_empty()
    {
        let _ = HIDDEN.set(SecretText::new(text.to_owned()));
    }
    zeroize::Zeroize::zeroize(bytes);
    // SAFETY: the name ends with a zero, and no other thread reads the environment.
    unsafe { libc::unsetenv(NAME.as_ptr()) };
}

/// The variable as it was, for whoever reads the environment.
pub fn hidden_key_variable() -> Option<(OsString, OsString)> {
    let text = HIDDEN.get()?.expose();
    let name = OsString::from_vec(NAME.to_bytes().to_vec());
    Some((name, OsString::from(text)))
}
