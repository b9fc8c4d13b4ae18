package ingest

import "bytes"

// Line cuts the first line off data: n bytes are used up, of which line is all but the newline. A "\r" before it is
// data. n is 0 when no line is there yet; with end, what lies behind the last newline is a line too. A line longer
// than limit comes in pieces of limit bytes each, marked partial, and the rest of it; nothing is added or dropped.
func Line(data []byte, limit int, end bool) (line []byte, partial bool, n int) {
	window := data
	if len(window) > limit {
		window = window[:limit+1] // a line of exactly limit bytes is whole
	}
	if i := bytes.IndexByte(window, '\n'); i >= 0 {
		return data[:i], false, i + 1
	}
	if len(data) > limit {
		return data[:limit], true, limit
	}
	if end {
		return data, false, len(data)
	}
	return nil, false, 0
}
