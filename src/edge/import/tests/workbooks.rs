//! XLSX: as programs write it, and as people leave it.

use calamine::{Data, Reader as _};
use proptest::prelude::*;
use rust_xlsxwriter::{Format as CellFormat, Formula, Workbook};

use super::book::{Book, row};
use super::{people, problem, read, read_within};
use crate::edge::import::{FileProblem, Format, Limits, Note};

#[test]
fn phones_are_understood_however_a_cell_holds_them() {
    let texts = "<si><t>+79991234567</t></si><si><r><t>+7999</t></r><r><t>1234568</t></r><rPh><t>no</t></rPh></si>";
    let rows = r#"<row r="1"><c r="A1" t="inlineStr"><is><t>Телефон</t></is></c></row>
        <row r="2"><c r="A2" t="s"><v>0</v></c></row>
        <row r="3"><c r="A3" t="s"><v>1</v></c></row>
        <row r="4"><c r="A4"><v>79991234569</v></c></row>
        <row r="5"><c r="A5"><v>7.999123457E10</v></c></row>
        <row r="6"><c r="A6"><v>7.9991234571E+10</v></c></row>
        <row r="7"><c r="A7"><v>7.99912E+10</v></c></row>
        <row r="8"><c r="A8" t="str"><v>'+79991234572</v></c></row>
        <row r="9"><c r="A9" t="inlineStr"><is><t xml:space="preserve"> 8 (999) 123-45-73&#160;</t></is></c></row>
        <row r="10"><c r="A10"><v>79991234574.0</v></c></row>
        <row r="11"><c r="A11"><v>9991234575</v></c></row>
        <row r="12"><c r="A12" t="s"><v>7</v></c></row>"#;
    let read = read(Book::default().shared(texts).sheet("S", rows).finish());
    assert_eq!(
        read.people(),
        people(&[
            (2, "+79991234567"),
            (3, "+79991234568"),
            (4, "+79991234569"),
            (5, "+79991234570"),
            (6, "+79991234571"),
            (8, "+79991234572"),
            (9, "+79991234573"),
            (10, "+79991234574"),
            (11, "+79991234575"),
        ])
    );
    assert_eq!(read.refusals(), [(7, "7.99912E+10"), (12, "")]);
    assert!(read.rejected[0].reason.contains("lost digits"));
    assert_eq!((read.summary.format, read.summary.encoding), (Format::Xlsx, None));
}

#[test]
fn formulas_errors_merged_and_hidden_things_are_told() {
    let cells = r#"<cols><col min="3" max="4" hidden="1"/><col min="5" max="5"/></cols><sheetData>
        <row r="1"><c r="A1" t="inlineStr"><is><t>username</t></is></c><c r="B1" t="inlineStr"><is><t>note</t></is></c></row>
        <row r="2"><c r="A2"><f>B2&amp;"x"</f></c></row>
        <row r="3"><c r="A3"><f>B3</f><v/></c></row>
        <row r="4"><c r="A4" t="str"><f>B4</f><v>@anna1</v></c></row>
        <row r="5"><c r="A5" t="e"><v>#SPILL!</v></c></row>
        <row r="6" hidden="1"><c r="A6" t="inlineStr"><is><t>@hidden1</t></is></c></row>
        <row r="7"><c r="A7" t="inlineStr"><is><t>@bobby</t></is></c><c r="B7" t="e"><v>#N/A</v></c></row>
        <row r="8" hidden="true"/>
        </sheetData><mergeCells count="99"><mergeCell ref="A7:A9"/><mergeCell ref="B1:C1"/></mergeCells>"#;
    let read = read(Book::default().whole("S", "", cells).finish());
    assert_eq!(read.people(), people(&[(4, "@anna1"), (7, "@bobby")]));
    assert_eq!(read.refusals(), [(2, ""), (3, ""), (5, "#SPILL!")]);
    assert!(read.rejected[0].reason.contains("formula without a value"));
    assert_eq!(read.rejected[2].reason, "the cell shows an error: #SPILL!");
    assert_eq!(
        read.summary.notes(),
        [
            Note::MergedCells(2),
            Note::HiddenRows(1),
            Note::HiddenColumns(2),
            Note::FormulasWithoutValue(2),
            Note::ErrorCells(2),
        ]
    );
}

#[test]
fn several_sheets_are_read_each_with_its_own_header() {
    let book = Book::default()
        .sheet("Люди", &(row(1, &["Имя", "Телефон"]) + &row(2, &["Анна", "+79991234567"])))
        .whole("secret", "state=\"veryHidden\"", "<sheetData/>")
        .sheet("About &amp; more", &(row(1, &["written by"]) + &row(2, &["somebody else"])))
        .sheet("empty", "")
        .sheet(
            "others",
            &(row(3, &["@anna1", "Ann"]) + &row(4, &["@bobby", "Bob"]) + &row(5, &["?", "Eve"])),
        );
    let read = read(book.finish());
    assert_eq!(read.people(), people(&[(2, "+79991234567"), (3, "@anna1"), (4, "@bobby")]));
    assert!(read.rejected[0].reason.ends_with("(sheet \"others\")"), "{}", read.rejected[0].reason);
    assert_eq!(read.summary.sheets, ["Люди", "About & more", "empty", "others"]);
    assert_eq!(
        read.columns(),
        [("first_name", "Имя"), ("phone", "Телефон"), ("username", "column_1")]
    );
    assert_eq!(
        read.summary.notes(),
        [
            Note::HiddenSheet("secret".into()),
            Note::SheetWithoutPeople("About & more".into()),
            Note::ColumnsGuessed(vec!["column_1".into()]),
        ]
    );
}

#[test]
fn the_last_cell_of_a_sheet_is_a_cell_like_others() {
    let rows = row(1, &["username"])
        + &row(2, &["@anna1"])
        + "<row r=\"1048576\"><c r=\"A1048576\" t=\"inlineStr\"><is><t>@bobby</t></is></c>\
           <c r=\"XFD1048576\"><v>1</v></c></row>";
    let bytes = Book::default()
        .whole("S", "", &format!("<dimension ref=\"A1:XFD1048576\"/><sheetData>{rows}</sheetData>"))
        .finish();
    assert!(bytes.len() < 8 * 1024);
    let read = read(bytes);
    assert_eq!(read.people(), people(&[(2, "@anna1"), (1_048_576, "@bobby")]));
    assert_eq!(read.rows[1].details.data.as_deref(), Some("{\"column_16384\":1}"));
    let beyond = "<row r=\"1\"><c r=\"XFE1\"><v>1</v></c></row>";
    assert!(matches!(
        problem(Book::default().sheet("S", beyond).finish()),
        FileProblem::BrokenWorkbook { .. }
    ));
}

#[test]
fn parts_of_other_programs_are_found() {
    let relations = r#"<Relationships><Relationship Id="a" Type="http://purl.oclc.org/ooxml/officeDocument/relationships/worksheet" Target="/XL\Worksheets/Tab.xml"/></Relationships>"#;
    let sheet = format!(
        "<x:worksheet xmlns:x=\"m\"><x:sheetData>{}</x:sheetData></x:worksheet>",
        row(1, &["@anna1"])
            .replace("</", "</x:")
            .replace("<c", "<x:c")
            .replace("<row", "<x:row")
            .replace("<is", "<x:is")
            .replace("<t>", "<x:t>")
    );
    let bytes = super::book::Archive::default()
        .with(
            "xl/workbook.xml",
            b"<workbook><sheets><sheet name='T' r:id='a'/></sheets></workbook>",
        )
        .with("xl/_rels/workbook.xml.rels", relations.as_bytes())
        .with("xl\\worksheets\\tab.xml", sheet.as_bytes())
        .finish();
    assert_eq!(read([b"", bytes.as_slice()].concat()).people(), people(&[(1, "@anna1")]));
}

#[test]
fn a_workbook_called_csv_is_a_workbook() {
    let bytes = Book::default().sheet("S", &row(1, &["@anna1"])).finish();
    let read = read_within(&bytes, Some("people.csv"), Limits::default()).unwrap();
    assert!(read.summary.notes().contains(&Note::OtherThanItsName(Format::Xlsx)));
}

#[test]
fn what_another_program_writes_is_read() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, header) in ["Phone", "First name", "User ID", "Born", "Active"].iter().enumerate()
    {
        sheet.write_string(0, column as u16, *header).unwrap();
    }
    let date = CellFormat::new().set_num_format("yyyy-mm-dd");
    for at in 0..200_u32 {
        sheet.write_number(at + 1, 0, 79_990_000_000.0 + f64::from(at)).unwrap();
        sheet.write_string(at + 1, 1, format!("Анна & <{at}>")).unwrap();
        sheet.write_number(at + 1, 2, f64::from(at) + 1_000_000_000.0).unwrap();
        sheet.write_number_with_format(at + 1, 3, 45_000.0, &date).unwrap();
        sheet.write_boolean(at + 1, 4, at % 2 == 0).unwrap();
    }
    sheet.write_formula(201, 0, Formula::new("=A2").set_result("79990000777")).unwrap();
    let read = read(book.save_to_buffer().unwrap());
    assert_eq!(read.rows.len(), 201);
    assert!(read.rejected.is_empty());
    let person = &read.rows[7];
    assert_eq!((person.line, person.identifier.to_string()), (9, "+79990000007".to_owned()));
    assert_eq!(person.user_id, Some(1_000_000_007));
    assert_eq!(person.details.first_name.as_deref(), Some("Анна & <7>"));
    assert_eq!(person.details.data.as_deref(), Some("{\"Born\":\"2023-03-15\",\"Active\":false}"));
    assert_eq!(read.rows[200].identifier.to_string(), "+79990000777");
}

/// What an unrelated reader has in the cells of the first sheet's first two columns.
fn witnessed(bytes: &[u8]) -> Vec<(u64, String, String)> {
    let mut book: calamine::Xlsx<_> =
        calamine::open_workbook_from_rs(std::io::Cursor::new(bytes)).unwrap();
    let range = book.worksheet_range_at(0).unwrap().unwrap();
    let first = u64::from(range.start().unwrap().0) + 1;
    let text =
        |cell: Option<&Data>| cell.map_or(String::new(), |cell| cell.to_string().trim().to_owned());
    let rows = range.rows().enumerate().skip(1);
    rows.map(|(at, row)| (first + at as u64, text(row.first()), text(row.get(1)))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_unrelated_reader_sees_the_same(
        names in prop::collection::vec("[ -~А-я\u{a0}😀\n\t]{0,30}", 1..20),
        gap in 0..5_u32,
        is_number in any::<bool>(),
    ) {
        let mut book = Workbook::new();
        let sheet = book.add_worksheet();
        sheet.write_string(0, 0, "phone").unwrap();
        sheet.write_string(0, 1, "name").unwrap();
        for (at, name) in (1..).zip(&names) {
            let row = at + if at > 3 { gap } else { 0 };
            if is_number {
                sheet.write_number(row, 0, 79_990_000_000.0 + f64::from(at)).unwrap();
            } else {
                sheet.write_string(row, 0, format!("79990{at:06}")).unwrap();
            }
            sheet.write_string(row, 1, name).unwrap();
        }
        let bytes = book.save_to_buffer().unwrap();
        let read = read(&bytes);
        let found: Vec<_> = read.rows.iter().map(|row| {
            let name = row.details.first_name.as_deref().unwrap_or("").to_owned();
            (row.line, row.identifier.to_string()[1..].to_owned(), name)
        }).collect();
        let mut expected = witnessed(&bytes);
        expected.retain(|(_, phone, _)| !phone.is_empty());
        prop_assert_eq!(found, expected);
    }
}
