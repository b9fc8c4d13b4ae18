package object

import (
	"fmt"
	"strconv"
	"time"
)

// textual is the piece of a letter whose longer runs are words.
func textual(c byte, n int) (piece, error) {
	switch c {
	case 'M', 'L':
		if n <= 2 {
			return number(n, func(t time.Time) int { return int(t.Month()) }), nil
		}
		return text(func(t time.Time) string { return style(t.Month().String(), n) }), nil
	case 'E':
		return text(func(t time.Time) string { return style(t.Weekday().String(), n) }), nil
	case 'e', 'c':
		if c == 'c' && n == 2 {
			return nil, fmt.Errorf("cc: there is no such form; c, ccc, cccc or ccccc")
		}
		if n <= 2 {
			return number(n, func(t time.Time) int { return int(t.Weekday()) + 1 }), nil
		}
		return text(func(t time.Time) string { return style(t.Weekday().String(), n) }), nil
	case 'Q', 'q':
		switch n {
		case 1, 2:
			return number(n, quarter), nil
		case 5:
			return number(1, quarter), nil
		}
		return text(func(t time.Time) string { return quarterName(quarter(t), n) }), nil
	case 'G':
		return literal([]string{"AD", "Anno Domini", "A"}[max(0, n-3)]), nil
	case 'a':
		return text(func(t time.Time) string { return t.Format("PM") }), nil
	}
	if n != 1 && n < 4 {
		return nil, fmt.Errorf("a letter %c has no form of %d letters; 1, 4 or 5", c, n)
	}
	return text(func(t time.Time) string { return dayPeriod(t, n == 5) }), nil
}

// style shortens an English name: up to three letters of pattern give three of the name, five give one.
func style(name string, n int) string {
	switch n {
	case 4:
		return name
	case 5:
		return name[:1]
	}
	return name[:3]
}

func quarter(t time.Time) int { return (int(t.Month())-1)/3 + 1 }

func quarterName(q, n int) string {
	if n == 3 {
		return "Q" + strconv.Itoa(q)
	}
	return []string{"1st", "2nd", "3rd", "4th"}[q-1] + " quarter"
}

// dayPeriod is the part of the day as CLDR names it in English.
func dayPeriod(t time.Time, narrow bool) string {
	switch h := t.Hour(); {
	case h == 0 && t.Minute() == 0:
		if narrow {
			return "mi"
		}
		return "midnight"
	case h == 12 && t.Minute() == 0:
		if narrow {
			return "n"
		}
		return "noon"
	case h < 6 || h >= 21:
		return "at night"
	case h < 12:
		return "in the morning"
	case h < 18:
		return "in the afternoon"
	}
	return "in the evening"
}

// zonal is the piece of a letter that is about the time zone.
func zonal(c byte, n int) (piece, error) {
	switch c {
	case 'V':
		if n != 2 {
			return nil, fmt.Errorf("a letter V stands only doubled, as VV")
		}
		return text(func(t time.Time) string { return t.Location().String() }), nil
	case 'z', 'v':
		if n == 4 || c == 'v' {
			return nil, fmt.Errorf("%c: long and generic names of time zones are not known here; VV, z or XXX", c)
		}
		return text(func(t time.Time) string { name, _ := t.Zone(); return name }), nil
	case 'O':
		if n != 1 && n != 4 {
			return nil, fmt.Errorf("a letter O has no form of %d letters; 1 or 4", n)
		}
		return text(func(t time.Time) string { return localOffset(t, n == 4) }), nil
	case 'Z':
		switch n {
		case 4:
			return text(func(t time.Time) string { return localOffset(t, true) }), nil
		case 5:
			return offset("-07:00", "-07:00:00", "Z"), nil
		}
		return offset("-0700", "-0700", "+0000"), nil
	}
	zero := map[byte][]string{'X': {"Z", "Z", "Z", "Z", "Z"}, 'x': {"+00", "+0000", "+00:00", "+0000", "+00:00"}}[c][n-1]
	if n == 1 {
		return text(func(t time.Time) string {
			switch _, seconds := t.Zone(); {
			case seconds == 0:
				return zero
			case seconds%3600 == 0:
				return t.Format("-07")
			}
			return t.Format("-0700")
		}), nil
	}
	short := []string{"-0700", "-07:00", "-0700", "-07:00"}[n-2]
	long := []string{"-0700", "-07:00", "-070000", "-07:00:00"}[n-2]
	return offset(short, long, zero), nil
}

// offset prints the offset from UTC in one of Go's layouts: short for whole minutes, long for others.
func offset(short, long, zero string) piece {
	return text(func(t time.Time) string {
		switch _, seconds := t.Zone(); {
		case seconds == 0:
			return zero
		case seconds%60 == 0:
			return t.Format(short)
		}
		return t.Format(long)
	})
}

// localOffset is GMT+8 or, full, GMT+08:00.
func localOffset(t time.Time, full bool) string {
	_, seconds := t.Zone()
	if seconds == 0 {
		return "GMT"
	}
	if full {
		return "GMT" + t.Format("-07:00")
	}
	sign := "+"
	if seconds < 0 {
		sign, seconds = "-", -seconds
	}
	out := "GMT" + sign + strconv.Itoa(seconds/3600)
	if m := seconds / 60 % 60; m != 0 {
		out += fmt.Sprintf(":%02d", m)
	}
	return out
}
