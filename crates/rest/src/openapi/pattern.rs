//! Which regular expressions ECMA-262 reads as the crate `regex` does: JSON Schema has ECMA-262's.
//!
//! The surprising fact: what looks alike often is not. `\d` is a digit of any script to one and of ASCII to the other, `.` leaves out
//! one end of a line to one and four to the other. So it is asked what is known to be the same, not what is known to differ.

use regex_syntax::ast::{
    AssertionKind, Ast, ClassSet, ClassSetItem, GroupKind, HexLiteralKind, Literal, LiteralKind, RepetitionKind,
    RepetitionRange, SpecialLiteralKind, parse::Parser,
};

/// What both read as a character of its own behind a backslash. ECMA-262 has no others under its flag `u`.
const ESCAPED: &str = "^$\\.*+?()[]{}|/";

/// Returns whether a pattern that a contract loaded with means the same in ECMA-262, with the flag `u` and without.
pub(super) fn reads_the_same(pattern: &str) -> bool {
    Parser::new().parse(pattern).is_ok_and(|ast| same(&ast))
}

fn same(ast: &Ast) -> bool {
    match ast {
        Ast::Empty(_) => true,
        Ast::Literal(literal) => character(literal, ""),
        Ast::Assertion(assertion) => matches!(assertion.kind, AssertionKind::StartLine | AssertionKind::EndLine),
        Ast::ClassBracketed(class) => match &class.kind {
            ClassSet::Item(item) => listed(item),
            ClassSet::BinaryOp(_) => false,
        },
        Ast::Repetition(repetition) => {
            let written = match &repetition.op.kind {
                RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => None,
                RepetitionKind::Range(RepetitionRange::Exactly(count)) => Some(format!("{{{count}}}")),
                RepetitionKind::Range(RepetitionRange::AtLeast(least)) => Some(format!("{{{least},}}")),
                RepetitionKind::Range(RepetitionRange::Bounded(least, most)) => Some(format!("{{{least},{most}}}")),
            };
            // Spaces, or a least count that is left out, would be longer or shorter than this.
            let op = &repetition.op.span;
            let length = op.end.offset.saturating_sub(op.start.offset);
            let plain = written.is_none_or(|text| length == text.len().saturating_add(usize::from(!repetition.greedy)));
            let repeatable = !matches!(*repetition.ast, Ast::Repetition(_) | Ast::Assertion(_) | Ast::Empty(_));
            plain && repeatable && same(&repetition.ast)
        }
        Ast::Group(group) => {
            let plain = match &group.kind {
                GroupKind::CaptureIndex(_) => true,
                GroupKind::NonCapturing(flags) => flags.items.is_empty(),
                GroupKind::CaptureName { .. } => false,
            };
            plain && same(&group.ast)
        }
        Ast::Alternation(branches) => branches.asts.iter().all(same),
        Ast::Concat(parts) => parts.asts.iter().all(same),
        Ast::Flags(_) | Ast::Dot(_) | Ast::ClassUnicode(_) | Ast::ClassPerl(_) => false,
    }
}

/// What stands in brackets.
fn listed(item: &ClassSetItem) -> bool {
    match item {
        ClassSetItem::Empty(_) => true,
        ClassSetItem::Literal(literal) => character(literal, "-"),
        ClassSetItem::Range(range) => character(&range.start, "-") && character(&range.end, "-"),
        ClassSetItem::Union(union) => union.items.iter().all(listed),
        ClassSetItem::Ascii(_) | ClassSetItem::Unicode(_) | ClassSetItem::Perl(_) | ClassSetItem::Bracketed(_) => false,
    }
}

/// One character; `more` may stand behind a backslash too.
fn character(literal: &Literal, more: &str) -> bool {
    match &literal.kind {
        // A bracket that closes nothing is an error under `u`, and what is above 16 bits two characters without it.
        LiteralKind::Verbatim => !"[]{}".contains(literal.c) && literal.c <= '\u{ffff}',
        LiteralKind::Meta | LiteralKind::Superfluous => ESCAPED.contains(literal.c) || more.contains(literal.c),
        LiteralKind::HexFixed(HexLiteralKind::X | HexLiteralKind::UnicodeShort) => true,
        LiteralKind::Special(kind) => match kind {
            SpecialLiteralKind::FormFeed
            | SpecialLiteralKind::Tab
            | SpecialLiteralKind::LineFeed
            | SpecialLiteralKind::CarriageReturn
            | SpecialLiteralKind::VerticalTab => true,
            SpecialLiteralKind::Bell | SpecialLiteralKind::Space => false,
        },
        LiteralKind::Octal | LiteralKind::HexFixed(HexLiteralKind::UnicodeLong) | LiteralKind::HexBrace(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_read_alike_is_known() {
        for pattern in [
            "",
            "[A-Z]{2}[0-9]{6}",
            "[A-Z]{3}|x+",
            "a|",
            "(a|bc)*?d{2,}",
            "(?:é[^,;]){1,3}?",
            r"T-[0-9]{4}/[a-z]\.\/",
            r"[\]\[\-\\^a-]",
            r"\x41\u00e9\t\n",
            "^a$",
        ] {
            assert!(reads_the_same(pattern), "{pattern}");
        }
    }

    #[test]
    fn what_one_of_them_reads_otherwise_or_not_at_all_is_known() {
        for pattern in [
            r"\d+",
            r"\w",
            r"[\s]",
            ".",
            "(?i)a",
            "(?i:a)",
            "(?x) a b",
            r"\p{Greek}",
            r"[\p{L}]",
            r"\Aa\z",
            r"a\b",
            "(?P<year>[0-9])",
            "(?<year>[0-9])",
            "[[:alpha:]]",
            "[a-z&&[^b]]",
            "[a[bc]]",
            "[]a]",
            "a]",
            "a}",
            "a**",
            "a{2}{3}",
            "^*",
            "a{ 2 }",
            r"\#",
            r"[\#]",
            r"\-",
            r"\a",
            r"\x{41}",
            r"\U00000041",
            "😀+",
            "(",
        ] {
            assert!(!reads_the_same(pattern), "{pattern}");
        }
    }
}
