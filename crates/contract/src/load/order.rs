//! Imports before importers.

use std::collections::HashMap;

use problem::{Problem, nearest};

use crate::load::{Unit, gather};
use crate::options::OPTIONS_PATH;

/// Path of an import in `SourceCodeInfo`: `FileDescriptorProto.dependency`.
const DEPENDENCY: i32 = 3;

/// Sorts files so that each follows what it imports, and adds what gateways bring. Files whose imports cannot be had are left out.
pub(super) fn imports_first(units: Vec<Unit>, problems: &mut Vec<Problem>) -> Vec<Unit> {
    let mut order = Order {
        positions: units.iter().enumerate().map(|(position, unit)| (unit.path.clone(), position)).collect(),
        units,
        states: HashMap::new(),
        sorted: Vec::new(),
        trail: Vec::new(),
        problems,
    };
    order.visit("google/protobuf/descriptor.proto");
    order.visit(OPTIONS_PATH);
    for position in 0..order.units.len() {
        if let Some(path) = order.units.get(position).map(|unit| unit.path.clone()) {
            order.visit(&path);
        }
    }
    order.sorted
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Visiting,
    Sorted,
    Broken,
}

struct Order<'p> {
    positions: HashMap<String, usize>,
    units: Vec<Unit>,
    states: HashMap<String, State>,
    sorted: Vec<Unit>,
    trail: Vec<String>,
    problems: &'p mut Vec<Problem>,
}

impl Order<'_> {
    /// Sorts a file behind its imports. Returns whether all of them can be had; a file that does not exist cannot.
    fn visit(&mut self, path: &str) -> bool {
        match self.states.get(path) {
            Some(State::Sorted) => return true,
            Some(State::Broken | State::Visiting) => return false,
            None => {}
        }
        let own = self.positions.get(path).and_then(|&position| self.units.get(position)).cloned();
        let Some(unit) = own.or_else(|| gather::built_in(path)) else {
            return false;
        };
        self.states.insert(path.to_owned(), State::Visiting);
        self.trail.push(path.to_owned());
        let mut whole = true;
        for (index, import) in unit.proto.dependency.iter().enumerate() {
            if !self.visit(import) {
                whole = false;
                self.explain(&unit, index, import);
            }
        }
        self.trail.pop();
        self.states.insert(path.to_owned(), if whole { State::Sorted } else { State::Broken });
        if whole {
            self.sorted.push(unit);
        }
        whole
    }

    fn explain(&mut self, unit: &Unit, index: usize, import: &str) {
        let problem = match self.states.get(import) {
            // Told where the import is at fault itself.
            Some(State::Broken | State::Sorted) => return,
            Some(State::Visiting) => {
                let round: Vec<_> = self.trail.iter().skip_while(|path| *path != import).map(String::as_str).collect();
                Problem::new(&unit.label, format!("`{import}` imports itself: {} -> {import}", round.join(" -> ")))
                    .help("move what both need into a third file")
            }
            None => self.missing(unit, import),
        };
        let location = index.try_into().ok().map(|index| [DEPENDENCY, index]);
        self.problems.push(match location {
            Some(location) => unit.locate(problem, &location),
            None => problem,
        });
    }

    fn missing(&self, unit: &Unit, import: &str) -> Problem {
        let problem = Problem::new(&unit.label, format!("the import `{import}` is not in any source"));
        if unit.text.is_none() {
            return problem.help("make the set with its imports: `buf build`, or `protoc --include_imports`");
        }
        let mut paths: Vec<_> = self.positions.keys().map(String::as_str).filter(|path| *path != unit.path).collect();
        paths.sort_unstable();
        match nearest(import, paths) {
            Some(similar) => problem.help(format!("did you mean `{similar}`?")),
            None => problem.help("add the file, under this path, to one of the folders in `contracts.sources`"),
        }
    }
}

impl Unit {
    /// Adds to a problem where in the text the element at `path` of the descriptor stands.
    pub(super) fn locate(&self, problem: Problem, path: &[i32]) -> Problem {
        let Some(text) = &self.text else {
            return problem;
        };
        let info = self.proto.source_code_info.as_ref();
        let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
        let Some(span) = location.map(|location| location.span.as_slice()) else {
            return problem;
        };
        let (start, end) = match *span {
            [line, column, end] => ((line, column), (line, end)),
            [line, column, end_line, end] => ((line, column), (end_line, end)),
            _ => return problem,
        };
        match (offset(text, start), offset(text, end)) {
            (Some(start), Some(end)) => problem.within(text, &(start..end.max(start))),
            _ => problem,
        }
    }
}

/// Returns the byte at a line and column, both from 0. The compiler counts columns in bytes.
fn offset(text: &str, (line, column): (i32, i32)) -> Option<usize> {
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    let start = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
    text.is_char_boundary(start.checked_add(column)?).then_some(start + column)
}
