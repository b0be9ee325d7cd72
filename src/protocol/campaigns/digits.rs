//! Characters that mean the same in identifiers: digits of all scripts, signs and their look-alikes, and marks
//! that nobody sees.

/// The zeros of all scripts that have decimal digits; the nine others follow each (Unicode 15, category Nd).
const ZEROS: &[u32] = &[
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
    0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// Whether a character shows nothing: directions, joiners, selectors, combining marks, control characters.
pub(super) fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{300}'..='\u{36f}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e01ef}')
        || (c.is_control() && !c.is_whitespace())
}

/// Whether a text shows nothing at all.
pub(super) fn is_blank(text: &str) -> bool {
    let is_filler =
        |c: char| matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}');
    text.chars().all(|c| c.is_whitespace() || is_mark(c) || is_filler(c))
}

/// The ASCII character that is meant: digits, plus, dashes, spaces, `@`, brackets. Letters stay what they are, so
/// that look-alikes are seen.
pub(super) fn plain(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    match c {
        '\u{ff0b}' | '\u{fe62}' | '\u{207a}' => '+',
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => '-',
        '\u{ff20}' | '\u{fe6b}' => '@',
        '\u{ff08}' => '(',
        '\u{ff09}' => ')',
        '\u{ff0e}' | '\u{2024}' => '.',
        '\u{ff0f}' => '/',
        '\u{2018}' | '\u{2019}' | '\u{2bc}' | '\u{ff07}' => '\'',
        _ if c.is_whitespace() => ' ',
        _ => digit(c).unwrap_or(c),
    }
}

fn digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let before = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
    char::from_digit(code - ZEROS[before], 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_all_scripts_are_digits_and_letters_stay() {
        for (given, meant) in [
            ('٣', '3'),
            ('۷', '7'),
            ('९', '9'),
            ('８', '8'),
            ('𝟗', '9'),
            ('𝟎', '0'),
            ('о', 'о'),
            ('²', '²'),
        ] {
            assert_eq!(plain(given), meant, "{given}");
        }
        assert!(ZEROS.is_sorted());
        for zero in ZEROS {
            let nine = char::from_u32(zero + 9).unwrap();
            assert_eq!((plain(nine), nine.is_numeric()), ('9', true), "{zero:x}");
        }
    }

    #[test]
    fn blank_is_what_shows_nothing() {
        assert!(is_blank("") && is_blank(" \u{200b}\u{3164}\t") && !is_blank("."));
    }
}
