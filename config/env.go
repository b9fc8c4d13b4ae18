package config

import (
	"regexp"
	"strings"
)

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// substitute sets n.value: n.source with ${VAR}, ${VAR:-default} and $$ replaced. It happens in values that are parsed
// already, so what a variable holds can be no YAML.
func (d *decoder) substitute(n *node) {
	if !strings.Contains(n.source, "$") {
		n.value = n.source
		return
	}
	var b strings.Builder
	rest := n.source
	for {
		i := strings.IndexByte(rest, '$')
		if i < 0 || i+1 == len(rest) {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		switch rest[i+1] {
		case '$':
			b.WriteByte('$')
			rest = rest[i+2:]
		case '{':
			inside, after, closed := strings.Cut(rest[i+2:], "}")
			value, outside, found, want := d.variable(inside, closed)
			if found != "" {
				n.bad = true
				d.add(Problem{Place: n.at, Found: found, Want: want, outside: outside})
			}
			b.WriteString(value)
			n.fromEnv = true
			rest = after
		default:
			b.WriteByte('$')
			rest = rest[i+1:]
		}
	}
	n.value = b.String()
}

// variable is what stands for ${inside}, or what is wrong with it, and whether that lies outside of the file. As in a
// shell, the default also replaces an empty value.
func (d *decoder) variable(inside string, closed bool) (value string, outside bool, found, want string) {
	name, fallback, hasDefault := strings.Cut(inside, ":-")
	switch {
	case !closed:
		return "", false, "${ without }", "write ${NAME} or ${NAME:-default}, and $${ for the characters themselves"
	case !variable.MatchString(name):
		return "", false, "${…} without the name of a variable", "write ${NAME} or ${NAME:-default}, and $${ for the characters themselves"
	case strings.Contains(fallback, "${"):
		return "", false, "${" + name + ":-…} with another ${ in its default", "write the default itself"
	}
	value, set := d.env(name)
	switch {
	case hasDefault && value == "":
		return strings.ReplaceAll(fallback, "$$", "$"), false, "", ""
	case !set:
		return "", true, "${" + name + "}, which is not set", "set it in the environment, or write ${" + name + ":-default}"
	}
	return value, false, "", ""
}
