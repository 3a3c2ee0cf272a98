//! Wrong files and what is said about them.
//!
//! Each case is judged by its whole message: place, what, remedy.

use proptest::prelude::*;

use super::{Memory, WHOLE, load_from};

fn problems_of(text: &str) -> Vec<String> {
    let files = Memory::default().with("app/courant.yaml", text);
    match load_from(&files, None) {
        Ok(plan) => panic!("a plan was made: {plan:#?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

proptest! {
    #[test]
    fn no_damaged_file_panics(at in 0..WHOLE.len(), length in 0usize..40, put in "[-\\[\\]{}:,&*!|>'\"#a-c0-9 \\n]{0,6}") {
        let end = (at + length).min(WHOLE.len());
        let (Some(before), Some(after)) = (WHOLE.get(..at), WHOLE.get(end..)) else { return Ok(()) };
        let files = Memory::default().with("app/courant.yaml", &format!("{before}{put}{after}"));
        if let Err(problems) = load_from(&files, None) {
            prop_assert!(!problems.is_empty());
        }
    }
}
