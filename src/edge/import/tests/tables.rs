//! CSV.

use std::io::Cursor;

use encoding_rs::WINDOWS_1251;
use proptest::prelude::*;

use super::{people, problem, read, read_within};
use crate::edge::import::{FileProblem, Format, Item, Limits, Note, Options, open};

#[test]
fn headers_in_both_languages_any_order_and_any_spelling() {
    for (text, columns) in [
        (
            "first_name,last_name,phone,username\nAnn,Lee,+79991234567,@anna1\n",
            vec!["first_name", "last_name", "phone", "username"],
        ),
        ("Телефон;Имя;ФАМИЛИЯ\n+79991234567;Анна;Ли\n", vec!["first_name", "last_name", "phone"]),
        ("Имя пользователя\tНомер телефона\nanna1\t8 (999) 123-45-67\n", vec!["phone", "username"]),
        ("User ID|Phone Number\n12345|+79991234567\n", vec!["phone", "user_id"]),
        ("  TELEGRAM-USERNAME ;Город\n@anna1;Тверь\n", vec!["username"]),
    ] {
        let read = read(text);
        assert_eq!(
            read.columns().iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            columns,
            "{text}"
        );
        assert_eq!((read.rows.len(), read.rejected.len()), (1, 0), "{text}");
    }
}

#[test]
fn the_time_zone_of_a_person_is_read_and_one_that_there_is_not_rejects_its_row() {
    for header in ["timezone", "Time zone", "time_zone", "TZ", "Часовой пояс", "Таймзона"]
    {
        let text = format!(
            "Username;{header};Город\n@anna1;Europe/Moscow;Тверь\n@boris;europe/berlin;\n@clara;МСК+2;\n@diana;;\n"
        );
        let read = read(&text);
        let zones = read.rows.iter().map(|row| (row.line, row.details.zone.as_deref()));
        let expected = [(2, Some("Europe/Moscow")), (3, Some("Europe/Berlin")), (5, None)];
        assert_eq!(zones.collect::<Vec<_>>(), expected, "{header}");
        assert_eq!(read.refusals(), [(4, "МСК+2")]);
        assert!(read.rejected[0].reason.contains("time zone"), "{:?}", read.rejected);
        assert_eq!(read.columns(), [("username", "Username"), ("zone", header)]);
        // Who is never to be contacted is not left out for it.
        let options = Options { ignores_zones: true, ..Options::default() };
        let rows = open(Cursor::new(text.as_bytes()), options).unwrap();
        assert_eq!(rows.filter(|item| matches!(item, Ok(Item::Row(_)))).count(), 4);
    }
}

#[test]
fn every_encoding_and_delimiter_gives_the_same() {
    let table = "Имя;Телефон;Username;Город\nАнна;+79991234567;@anna1;Тверь\n";
    for delimiter in [';', ',', '\t', '|'] {
        for line_end in ["\n", "\r\n", "\r"] {
            let text = table.replace(';', &delimiter.to_string()).replace('\n', line_end);
            let utf16 = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
                format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect()
            };
            for (bytes, encoding) in [
                (text.clone().into_bytes(), "UTF-8"),
                (format!("\u{feff}{text}").into_bytes(), "UTF-8"),
                (WINDOWS_1251.encode(&text).0.into_owned(), "windows-1251"),
                (utf16(u16::to_le_bytes), "UTF-16LE"),
                (utf16(u16::to_be_bytes), "UTF-16BE"),
            ] {
                let read = read(bytes);
                assert_eq!(
                    read.people(),
                    people(&[(2, "@anna1")]),
                    "{encoding} {delimiter:?} {line_end:?}"
                );
                let details = &read.rows[0].details;
                assert_eq!(details.first_name.as_deref(), Some("Анна"));
                assert_eq!(details.phone.as_deref(), Some("+79991234567"));
                assert_eq!(details.data.as_deref(), Some("{\"Город\":\"Тверь\"}"));
                assert_eq!(read.summary.encoding, Some(encoding));
                assert_eq!(read.summary.delimiter, Some(delimiter));
            }
        }
    }
}

#[test]
fn lines_are_physical_ones() {
    let text =
        "\n\nname;phone\r\n\"Ann\nof\nTver\";+79991234567\n\n\rBob;nothing\rEve;+79991234568";
    let read = read(text);
    assert_eq!(read.people(), people(&[(4, "+79991234567"), (10, "+79991234568")]));
    assert_eq!(read.refusals(), [(9, "nothing")]);
    assert_eq!(read.rows[0].details.first_name.as_deref(), Some("Ann\nof\nTver"));
}

#[test]
fn a_quote_that_is_never_closed_costs_no_other_line() {
    let read = read("name;phone\n\"Ann;+79991234567\nBob;+79991234568\n\"Eve\";+79991234569\n");
    assert_eq!(
        read.people(),
        people(&[(2, "+79991234567"), (3, "+79991234568"), (4, "+79991234569")])
    );
    assert_eq!(read.summary.notes(), [Note::StrayQuotes(1)]);
    assert_eq!(read.rows[0].details.first_name.as_deref(), Some("Ann"));
    let read = super::read("phone;name\n\"+79991234567\";\"Ann\n\"+79991234568\";\"Bob\"\n");
    assert_eq!(read.people(), people(&[(2, "+79991234567"), (3, "+79991234568")]));
    let read = super::read(
        "name;phone\n\"Romashka\" Ltd;+79991234567\nsay \"hi\";+79991234568\n\"a \"\"b\"\"\" ;+79991234569\n",
    );
    let names: Vec<_> =
        read.rows.iter().map(|row| row.details.first_name.as_deref().unwrap()).collect();
    assert_eq!(names, ["Romashka Ltd", "say \"hi\"", "a \"b\""]);
}

#[test]
fn spreadsheets_ways_to_keep_numbers_text_are_understood() {
    let read = read(
        "sep=,\nphone,id\n\"=\"\"79991234567\"\"\",1\n='x,2\n'+79991234568,3\n=\"89991234569\",4\n7.9991234567E+10,5\n7.99912E+10,x\n",
    );
    assert_eq!(
        read.people(),
        people(&[
            (3, "+79991234567"),
            (4, "2"),
            (5, "+79991234568"),
            (6, "+79991234569"),
            (7, "+79991234567"),
        ])
    );
    assert_eq!(read.refusals(), [(8, "7.99912E+10")]);
    assert!(read.rejected[0].reason.contains("lost digits"), "{}", read.rejected[0].reason);
}

#[test]
fn ragged_rows_keep_what_they_have() {
    let read =
        read("phone;name\n+79991234567\n+79991234568;Bob;more;and more\n;;;\n+79991234569;;\n");
    assert_eq!(read.rows.len(), 3);
    assert_eq!(
        read.rows[1].details.data.as_deref(),
        Some("{\"column_3\":\"more\",\"column_4\":\"and more\"}")
    );
}

#[test]
fn without_a_header_the_content_says_what_columns_are() {
    let read = read("Анна,@anna1,+79991234567\nБоб,@bobby,89991234568\nЕва,,79991234569\n");
    assert_eq!(read.people(), people(&[(1, "@anna1"), (2, "@bobby"), (3, "+79991234569")]));
    assert_eq!(
        read.summary.notes(),
        [Note::ColumnsGuessed(vec!["column_2".into(), "column_3".into()])]
    );
    let read = super::read("@anna1\n@bobby\nhttps://t.me/eva_1\n+79991234567\n");
    assert_eq!((read.rows.len(), read.summary.delimiter), (4, None));
    let read = super::read("Клиент;Способ связи\nАнна;@anna1\nБоб;@bobby\n");
    assert_eq!(read.people(), people(&[(2, "@anna1"), (3, "@bobby")]));
    assert_eq!(read.summary.notes(), [Note::ColumnsGuessed(vec!["Способ связи".into()])]);
    assert_eq!(read.rows[0].details.data.as_deref(), Some("{\"Клиент\":\"Анна\"}"));
}

#[test]
fn commas_within_numbers_are_no_delimiter() {
    let read = read("1,5;@anna1;2,5;3,5\n2,5;@bobby;1,5;7,5\n");
    assert_eq!(
        (read.people(), read.summary.delimiter),
        (people(&[(1, "@anna1"), (2, "@bobby")]), Some(';'))
    );
}

#[test]
fn rows_may_be_read_on_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<super::super::Rows<'static>>();
}

#[test]
fn digits_too_long_for_an_id_are_phones_unless_the_contract_says_identifier() {
    let read = read("Имя;Контакт\nАнна;79991234567\nБоб;89991234568\n");
    assert_eq!(read.people(), people(&[(2, "+79991234567"), (3, "+79991234568")]));
    assert_eq!(read.columns(), [("first_name", "Имя"), ("phone", "Контакт")]);
    let read = super::read("name;identifier\nAnn;79991234567\n");
    assert_eq!(read.people(), people(&[(2, "79991234567")]));
}

#[test]
fn titles_above_the_header_are_no_people() {
    let read = read("Контакты;;\nна 1 мая;;\n\nИмя;Телефон;\nАнна;+79991234567;\n");
    assert_eq!(read.people(), people(&[(5, "+79991234567")]));
    assert_eq!(read.summary.notes(), [Note::AboveHeader(2)]);
}

#[test]
fn the_first_usable_column_names_the_person() {
    let read = read(
        "id;phone;username;identifier\n5;+79991234567;@anna1;\n6;+79991234568;!;-\n7;;;\n8;zzz;;\n;x;;\n",
    );
    assert_eq!(read.people(), people(&[(2, "@anna1"), (3, "+79991234568"), (4, "7"), (5, "8")]));
    assert_eq!(read.rows[0].user_id, Some(5));
    assert_eq!(read.refusals(), [(6, "x")]);
    assert!(read.summary.notes().contains(&Note::OtherIdentifierUsed(2)));
}

#[test]
fn rejected_lines_are_told_up_to_a_limit_and_all_counted() {
    let text = format!("phone\n{}", format!("{}\n", "я".repeat(200)).repeat(1_500));
    let read = read(text);
    assert_eq!((read.rejected.len(), read.summary.rejected), (1_000, 1_500));
    assert_eq!(read.rejected[999].line, 1_001);
    assert!(read.rejected.iter().all(|row| row.value.chars().count() == 100));
}

#[test]
fn lines_without_an_end_are_rejected_and_the_next_is_read() {
    let long = "x".repeat(3_000_000);
    let read = read(format!(
        "phone;note\n+79991234567;a\n{long};b\n+79991234568;\"{long}\n+79991234569;c\n"
    ));
    assert_eq!(read.people(), people(&[(2, "+79991234567"), (5, "+79991234569")]));
    assert_eq!(read.rejected.iter().map(|row| row.line).collect::<Vec<_>>(), [3, 4]);
    assert!(read.rejected.iter().all(|row| row.reason == "the line is too long"));
}

#[test]
fn columns_of_one_name_and_values_without_end_keep_their_bounds() {
    let long = "ж".repeat(2_000);
    let read = read(format!("phone;note;note;x\n+79991234567;a;b;{long}\n"));
    let data: serde_json::Value =
        serde_json::from_str(read.rows[0].details.data.as_deref().unwrap()).unwrap();
    assert_eq!((&data["note"], &data["note (2)"]), (&"a".into(), &"b".into()));
    assert_eq!(data["x"].as_str().unwrap().chars().count(), 1_000);
    let header: Vec<String> = (0..600).map(|at| format!("c{at}")).collect();
    let read =
        super::read(format!("phone;{}\n+79991234567;{}\n", header.join(";"), header.join(";")));
    assert!(read.rows[0].details.data.as_deref().unwrap().len() <= 4_096);
    assert!(
        read.notes().iter().any(|note| note.contains("beyond the limit")),
        "{:?}",
        read.notes()
    );
}

#[test]
fn files_without_people_say_what_they_have() {
    let FileProblem::NoPeople { found } = problem("city;street\nTver;Lenina\nOrel;Mira\n") else {
        panic!("another problem")
    };
    assert!(found.is_empty() || found == ["city", "street"], "{found:?}");
    assert!(matches!(problem(""), FileProblem::Empty));
    assert!(matches!(problem("\u{feff} \r\n"), FileProblem::Empty));
    let only_header = read("phone;name\n");
    assert_eq!(only_header.summary.rows, 0);
}

#[test]
fn limits_of_the_file_and_its_rows_hold() {
    let limits = Limits { rows: 2, ..Limits::default() };
    let text = b"phone\n+79991234567\n+79991234568\n+79991234569\n";
    assert!(matches!(read_within(text, None, limits), Err(FileProblem::TooManyRows { limit: 2 })));
    let limits = Limits { file_bytes: 10, ..Limits::default() };
    assert!(matches!(read_within(text, None, limits), Err(FileProblem::TooLarge { limit: 10 })));
    let named = read_within(text, Some("people.XLSX"), Limits::default()).unwrap();
    assert_eq!(named.summary.notes(), [Note::OtherThanItsName(Format::Csv)]);
}

#[test]
fn a_file_is_read_in_pieces() {
    let text: String = (0..1_234).map(|at| format!("+7999{at:07}\n")).collect();
    let options = super::Options::default();
    let mut rows = super::open(std::io::Cursor::new(format!("phone\n{text}")), options).unwrap();
    let sizes: Vec<usize> = std::iter::from_fn(|| {
        let piece = rows.piece(500).unwrap();
        (!piece.rows.is_empty()).then_some(piece.rows.len())
    })
    .collect();
    assert_eq!(sizes, [500, 500, 234]);
}

fn quoted(text: &str, delimiter: char, always: bool) -> String {
    let needs =
        text.contains([delimiter, '"', '\n', '\r']) || text.starts_with(char::is_whitespace);
    if needs || always { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What a careful program writes is read as it was meant, with the lines that an editor shows.
    #[test]
    fn written_tables_come_back(
        names in prop::collection::vec("[A-Za-zА-Яа-я0-9 ;,|\"\n\t.'-]{0,20}", 1..20),
        delimiter in prop::sample::select(vec![';', ',', '\t', '|']),
        line_end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        encoding in 0..4,
        always in any::<bool>(),
        has_last_end in any::<bool>(),
    ) {
        let mut text = format!("phone{delimiter}name{delimiter}note{line_end}");
        let (mut line, mut expected) = (2, Vec::new());
        for (at, name) in names.iter().enumerate() {
            let inner = name.replace('\n', line_end);
            text += &format!(
                "+7999{at:07}{delimiter}{}{delimiter}{}{line_end}",
                quoted(&inner, delimiter, always),
                quoted("x", delimiter, always),
            );
            expected.push((line, format!("+7999{at:07}"), name.trim().to_owned()));
            line += 1 + name.matches('\n').count() as u64;
        }
        if !has_last_end {
            text.truncate(text.len() - line_end.len());
        }
        let bytes = match encoding {
            0 => text.into_bytes(),
            1 => WINDOWS_1251.encode(&text).0.into_owned(),
            2 => format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect(),
            _ => format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_be_bytes).collect(),
        };
        let read = read(&bytes);
        let found: Vec<_> = read.rows.iter().map(|row| {
            let name = row.details.first_name.as_deref().unwrap_or("").to_owned();
            (row.line, row.identifier.to_string(), name)
        }).collect();
        prop_assert_eq!(found, expected);
        prop_assert!(read.rejected.is_empty());
    }
}
