//! Self-contained HTML page: no scripts, no external resources.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// HTML page under construction; all texts are escaped.
pub(crate) struct Page {
    html: String,
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}\
h2{border-bottom:1px solid #ccc;margin-top:2em}table{border-collapse:collapse;margin:.6em 0}td,th{padding:.2em .8em;border-bottom:1px solid #eee;text-align:left}\
pre{background:#f6f6f6;padding:1em;overflow:auto}img{max-width:100%}figure{margin:1em 0}figcaption{color:#555}";

impl Page {
    /// Starts a page; its content security policy allows inline styles and embedded images only.
    pub fn new(title: &str) -> Self {
        let title = escaped(title);
        let policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
        Self {
            html: format!(
                "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"><title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
            ),
        }
    }

    pub fn section(&mut self, title: &str) {
        self.put(format_args!("<h2>{}</h2>\n", escaped(title)));
    }

    pub fn line(&mut self, text: &str) {
        self.put(format_args!("<p>{}</p>\n", escaped(text)));
    }

    pub fn text_block(&mut self, text: &str) {
        self.put(format_args!("<pre>{}</pre>\n", escaped(text)));
    }

    /// Adds a table; a head of empty names is left out.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.html.push_str("<table>");
        if head.iter().any(|name| !name.is_empty()) {
            self.row("th", head.iter().copied());
        }
        rows.iter().for_each(|row| self.row("td", row.iter().map(String::as_str)));
        self.html.push_str("</table>\n");
    }

    fn row<'a>(&mut self, tag: &str, cells: impl Iterator<Item = &'a str>) {
        self.html.push_str("<tr>");
        cells.for_each(|cell| self.put(format_args!("<{tag}>{}</{tag}>", escaped(cell))));
        self.html.push_str("</tr>");
    }

    /// Adds a chart, or a line that says that there is no data.
    pub fn figure(&mut self, svg: Option<&str>) {
        match svg {
            Some(svg) => self.put(format_args!("<figure>{svg}</figure>\n")),
            None => self.line("No data."),
        }
    }

    /// Embeds a PNG file with its name as caption.
    pub fn picture(&mut self, name: &str, png: &[u8]) {
        let name = escaped(name);
        self.put(format_args!(
            "<figure><img alt=\"{name}\" src=\"data:image/png;base64,{}\"><figcaption>{name}</figcaption></figure>\n",
            STANDARD.encode(png)
        ));
    }

    pub fn finish(mut self) -> String {
        self.html.push_str("</body></html>\n");
        self.html
    }

    fn put(&mut self, text: std::fmt::Arguments) {
        let _ = self.html.write_fmt(text); // writing to a String cannot fail
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let mut page = Page::new("<script>");
        page.line("a & b < c");
        page.table(&["x"], &[vec!["<b>".into()]]);
        page.picture("\"><i>", &[1, 2, 3]);
        let html = page.finish();
        assert!(!html.contains("<script>") && !html.contains("<b>") && !html.contains("<i>"), "{html}");
        assert!(html.contains("a &amp; b &lt; c") && html.contains("base64,AQID"), "{html}");
    }
}
