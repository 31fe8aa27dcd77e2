//! Data in tables: `train.csv` (and `validation.csv`, `test.csv`), or `.tsv` with tabs, or one such file. A row is a sample.
//!
//! The first row names the columns unless all of it is numbers. A column belongs to the input or output of its name; one that takes
//! several numbers has `name[0]`, `name[1]`, … What is left then goes by place: to the only target the column that was asked for, else
//! the last ones, to the only input all others. Numbers are taken as they are; texts in a column of labels are names of classes, and a
//! column of an input that takes texts has texts: then the first row is always one of names, and one column may list the labels of a
//! target of yes and no, with `|` between them.

use super::labels::{Classes, at_line, shortened};
use super::sequences::Sequences;
use super::stack::Stack;
use super::{Dataset, Splits, Wanted, of_parts};
use crate::files::file_error;
use crate::training::recipe::Allowed;
use csv::{Reader, ReaderBuilder, StringRecord, Trim};
use kiln_ir::{DType, Diagnostic};
use std::fs::File;
use std::path::Path;

/// Whether a file is a table, by its name.
pub fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "csv" || extension == "tsv")
}

/// One table. Errors: `file`; `data` for what does not fit, with its line.
pub fn open_file(path: &Path, wanted: &Wanted) -> Result<Splits, Diagnostic> {
    let mut classes = None;
    let train = read(path, wanted, &mut classes)?;
    Ok(Splits { classes: classes.and_then(Classes::names), ..Splits::of(train) })
}

/// A directory with one table a part; `None` if there is none to train on. Errors: as [`open_file`].
pub fn open_directory(path: &Path, wanted: &Wanted) -> Result<Option<Splits>, Diagnostic> {
    let find = |part: &str| ["csv", "tsv"].map(|ending| path.join(format!("{part}.{ending}"))).into_iter().find(|path| path.is_file());
    of_parts(find, |place, classes| read(place, wanted, classes))
}

/// Rows of a table, one by one, with the errors of those that cannot be read.
pub struct Rows {
    reader: Reader<File>,
    row: StringRecord,
    place: String,
}

impl Rows {
    /// Opens a table. Errors: `file`.
    pub fn open(path: &Path) -> Result<Rows, Diagnostic> {
        let file = File::open(path).map_err(|error| file_error("read", path, &error))?;
        let tabs = path.extension().is_some_and(|extension| extension == "tsv");
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(if tabs { b'\t' } else { b',' });
        Ok(Rows { reader: builder.from_reader(file), row: StringRecord::new(), place: path.display().to_string() })
    }

    /// The next row and its line; `None` behind the last one. Errors: `data`, with the line; what comes behind it can still be read,
    /// unless the file itself cannot.
    pub fn next_row(&mut self) -> Result<Option<(&StringRecord, u64)>, Diagnostic> {
        match self.reader.read_record(&mut self.row) {
            Ok(false) => Ok(None),
            Ok(true) => {
                let line = self.row.position().map_or(0, csv::Position::line);
                Ok(Some((&self.row, line)))
            }
            Err(error) => {
                let line = error.position().map_or_else(|| self.reader.position().line(), csv::Position::line);
                let text = match error.kind() {
                    csv::ErrorKind::Utf8 { err, .. } => format!("field {} is no text in UTF-8", err.field() + 1),
                    csv::ErrorKind::Io(error) => return Err(file_error("read", Path::new(&self.place), error)),
                    _ => error.to_string(),
                };
                Err(at_line(&self.place, line, &text))
            }
        }
    }
}

/// Which columns each slot takes.
struct Plan {
    /// Names of the columns, if the first row has them.
    header: Option<Vec<String>>,
    width: usize,
    columns: Vec<Vec<usize>>,
    /// The target whose only column lists any number of labels.
    lists: Option<usize>,
}

impl Plan {
    /// Decides by the first row. Errors: `data` when columns and slots do not fit together.
    fn new(first: &StringRecord, wanted: &Wanted, place: &str) -> Result<Plan, Diagnostic> {
        let fields: Vec<String> = first.iter().map(str::to_owned).collect();
        let named = wanted.text().is_some() || fields.iter().any(|field| field.parse::<f64>().is_err());
        let header = Some(&fields).filter(|_| named).cloned();
        let wrong = |text: String| {
            let error = Diagnostic::new("data", format!("{place}: {text}"));
            let error = match &header {
                Some(names) => error.at("its columns are", shortened(names)),
                None => error.at("its first row", format!("has {} numbers and no names", fields.len())),
            };
            wanted.takes(error)
        };
        let by_name = |name: &str| header.as_ref().and_then(|names| names.iter().position(|field| field == name));
        // Of texts, what is a yes or a no for each of several labels may stand in one column.
        let is_list = |at: usize| {
            let slot = &wanted.slots[at];
            let one = by_name(&slot.name).is_some() || wanted.options.label.is_some() || fields.len() == 2;
            let many = wanted.sample_size(at).is_some_and(|size| size > 1) && wanted.decl(at).shape.len() == 2;
            slot.is_target && slot.allowed == Allowed::Probabilities && many && one && wanted.text().is_some()
        };
        let lists = (0..wanted.slots.len()).find(|at| is_list(*at));
        let size_of = |at: usize| if lists == Some(at) { Some(1) } else { wanted.columns(at) };
        let mut left: Vec<usize> = (0..fields.len()).collect();
        let mut columns: Vec<Option<Vec<usize>>> = Vec::new();
        for (at, slot) in wanted.slots.iter().enumerate() {
            let several = || wanted.columns(at).and_then(|size| (0..size).map(|i| by_name(&format!("{}[{i}]", slot.name))).collect());
            let own: Option<Vec<usize>> = if size_of(at) == Some(1) { by_name(&slot.name).map(|at| vec![at]) } else { None };
            columns.push(own.or_else(several));
        }
        let targets: Vec<usize> = (0..wanted.slots.len()).filter(|at| wanted.slots[*at].is_target).collect();
        if let Some(label) = &wanted.options.label {
            let column = by_name(label).ok_or_else(|| wrong(format!("there is no column `{label}` for the labels")))?;
            match targets[..] {
                [] => left.retain(|at| *at != column),
                [only] if size_of(only) == Some(1) => columns[only] = Some(vec![column]),
                [only] => return Err(wrong(format!("`{}` takes several numbers, `{label}` is one column", wanted.slots[only].name))),
                _ => return Err(wrong("there are several targets, whose columns need their names".into())),
            }
        }
        left.retain(|at| !columns.iter().flatten().any(|taken| taken.contains(at)));
        let open = |columns: &[Option<Vec<usize>>], is_target: bool| {
            let open = (0..columns.len()).filter(|at| columns[*at].is_none() && wanted.slots[*at].is_target == is_target);
            open.collect::<Vec<usize>>()
        };
        match open(&columns, true)[..] {
            [] => {}
            [only] => {
                let size = size_of(only).ok_or_else(|| wrong(format!("`{}` takes any number of them", wanted.slots[only].name)))?;
                let at =
                    left.len().checked_sub(size).ok_or_else(|| wrong(format!("`{}` takes {size} columns", wanted.slots[only].name)))?;
                columns[only] = Some(left.split_off(at));
            }
            _ => return Err(wrong("there are several targets, and not all have columns of their names".into())),
        }
        match open(&columns, false)[..] {
            [] => {}
            [only] => {
                let (name, size) = (&wanted.slots[only].name, size_of(only));
                // Without a target to look for, what is to be predicted may stand there too.
                if targets.is_empty() && size.is_some_and(|size| size + 1 == left.len()) {
                    left.pop();
                }
                if size.is_some_and(|size| size != left.len()) || left.is_empty() {
                    let size = size.map_or("some".to_owned(), |size| size.to_string());
                    return Err(wrong(format!("`{name}` takes {size} columns, and {} are left for it", left.len())));
                }
                columns[only] = Some(left);
            }
            _ => return Err(wrong("there are several inputs, and not all have columns of their names".into())),
        }
        let columns = columns.into_iter().flatten().collect();
        Ok(Plan { width: fields.len(), columns, header, lists })
    }

    /// A column as messages call it.
    fn name(&self, column: usize) -> String {
        self.header.as_ref().map_or_else(|| format!("column {}", column + 1), |names| format!("column `{}`", names[column]))
    }
}

fn read(path: &Path, wanted: &Wanted, classes: &mut Option<Classes>) -> Result<Dataset, Diagnostic> {
    let place = path.display().to_string();
    let mut rows = Rows::open(path)?;
    let Some((first, line)) = rows.next_row()? else { return Err(Diagnostic::new("data", format!("{place} is empty"))) };
    let plan = Plan::new(first, wanted, &place)?;
    let labels = plan.lists.or_else(|| (0..wanted.slots.len()).find(|at| wanted.is_label(*at) && plan.columns[*at].len() == 1));
    if let (Some(slot), None) = (labels, &classes) {
        *classes = Some(find_classes(path, &plan, slot, wanted)?);
    }
    let tokeniser = match wanted.text() {
        None => None,
        Some((slot, _)) => Some((slot, wanted.tokeniser(|counts, input| each_field(path, &plan, slot, |text| counts.add(text, input)))?)),
    };
    let mut gathered = (0..wanted.slots.len())
        .map(|slot| match tokeniser {
            Some((text, tokeniser)) if text == slot => {
                let input = tokeniser.input();
                Ok(Gathered::Texts(Sequences::new(wanted.decl(slot), input, input.padding)))
            }
            _ => Stack::new(slot, wanted).map(Gathered::Numbers),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut numbers: Vec<Vec<f64>> = vec![Vec::new(); wanted.slots.len()];
    let add = |row: &StringRecord, line: u64, gathered: &mut [Gathered], numbers: &mut [Vec<f64>]| -> Result<(), Diagnostic> {
        if row.len() != plan.width {
            return Err(at_line(&place, line, &format!("{} fields, and {} are wanted", row.len(), plan.width)));
        }
        for (slot, columns) in plan.columns.iter().enumerate() {
            let own = &mut numbers[slot];
            own.clear();
            if let Some((_, tokeniser)) = tokeniser.filter(|(text, _)| *text == slot) {
                let tokens = tokeniser.tokens(&row[columns[0]]).map_err(|error| at_line(&place, line, &error.message))?;
                own.extend(tokens.into_iter().map(|token| token.number as f64));
                continue;
            }
            if let Some(classes) = classes.as_ref().filter(|_| plan.lists == Some(slot)) {
                own.resize(wanted.sample_size(slot).unwrap_or(0), 0.0);
                for label in several(&row[columns[0]]) {
                    let class =
                        classes.number(label).map_err(|text| at_line(&place, line, &format!("{}: {text}", plan.name(columns[0]))))?;
                    own[class as usize] = 1.0;
                }
                continue;
            }
            for column in columns {
                let field = &row[*column];
                let number = match classes.as_ref().filter(|_| labels == Some(slot)) {
                    Some(classes) => classes.number(field).map(|number| number as f64),
                    None => number(field, wanted.decl(slot).dtype),
                };
                own.push(number.map_err(|text| at_line(&place, line, &format!("{}: {text}", plan.name(*column))))?);
            }
        }
        // The whole row is good: now each slot gets its own.
        for (gathered, numbers) in gathered.iter_mut().zip(numbers.iter()) {
            match gathered {
                Gathered::Numbers(stack) => stack.push(numbers.iter().copied()),
                Gathered::Texts(texts) => texts.push(numbers.iter().map(|number| *number as i64)),
            }
        }
        Ok(())
    };
    if plan.header.is_none() {
        let first = first.clone();
        add(&first, line, &mut gathered, &mut numbers).or_else(|error| wanted.leave_out(error))?;
    }
    loop {
        let outcome = match rows.next_row() {
            Ok(None) => break,
            Ok(Some((row, line))) => add(row, line, &mut gathered, &mut numbers),
            Err(error) if error.code == "file" => return Err(error),
            Err(error) => Err(error),
        };
        outcome.or_else(|error| wanted.leave_out(error))?;
    }
    let columns = gathered.into_iter().zip(&plan.columns).enumerate().map(|(slot, (gathered, columns))| match gathered {
        Gathered::Numbers(stack) if plan.lists == Some(slot) => stack.column(wanted.sample_size(slot).unwrap_or(0), wanted, &place),
        Gathered::Numbers(stack) => stack.column(columns.len(), wanted, &place),
        Gathered::Texts(texts) => Ok(texts.column()),
    });
    wanted.dataset(columns.collect::<Result<_, _>>()?, &place)
}

/// The samples of a slot while rows are read.
enum Gathered {
    Numbers(Stack),
    Texts(Sequences),
}

/// What the labels of a column are; rows that cannot be read say nothing.
fn find_classes(path: &Path, plan: &Plan, slot: usize, wanted: &Wanted) -> Result<Classes, Diagnostic> {
    let mut labels: Vec<String> = Vec::new();
    each_field(path, plan, slot, |field| match plan.lists == Some(slot) {
        true => labels.extend(several(field).map(str::to_owned)),
        false if field.is_empty() => {}
        false => labels.push(field.to_owned()),
    })?;
    let place = path.display().to_string();
    let classes = wanted.classes_of(slot, labels.iter().map(String::as_str), &place)?;
    match (plan.lists, wanted.sample_size(slot)) {
        (Some(_), Some(size)) => match classes {
            Classes::Numbers(_) => Ok(Classes::Numbers(Some(size))),
            Classes::Names(names) if names.len() > size => {
                let message = format!("{place}: there are {} classes, and `{}` tells {size} apart", names.len(), wanted.slots[slot].name);
                Err(Diagnostic::new("data", message).at("the classes are", shortened(&names)))
            }
            names => Ok(names),
        },
        _ => Ok(classes),
    }
}

/// The labels of a field that has any number of them.
fn several(field: &str) -> impl Iterator<Item = &str> {
    field.split('|').map(str::trim).filter(|label| !label.is_empty())
}

/// Gives `take` the field of a slot of one column in each row, but for rows that cannot be read. Errors: `file`.
fn each_field(path: &Path, plan: &Plan, slot: usize, mut take: impl FnMut(&str)) -> Result<(), Diagnostic> {
    let (mut rows, column) = (Rows::open(path)?, plan.columns[slot][0]);
    let mut at_header = plan.header.is_some();
    loop {
        match rows.next_row() {
            Ok(None) => return Ok(()),
            Ok(Some((row, _))) => {
                let header = std::mem::take(&mut at_header);
                if let Some(field) = row.get(column).filter(|_| !header && row.len() == plan.width) {
                    take(field);
                }
            }
            Err(error) if error.code == "file" => return Err(error),
            Err(_) => {}
        }
    }
}

/// A field as a number of that type. Errors: a text that says what is wrong with it.
fn number(field: &str, dtype: DType) -> Result<f64, String> {
    if field.is_empty() {
        return Err("it is empty".to_owned());
    }
    let number = field.parse::<f64>().ok().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| format!("`{field}` is no number"))?;
    if !dtype.is_float() && number.fract() != 0.0 {
        return Err(format!("`{field}` is no {dtype}"));
    }
    Ok(number)
}
