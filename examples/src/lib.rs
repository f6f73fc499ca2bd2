//! Empty library; the programs are the examples `quickstart` and `embed`.
