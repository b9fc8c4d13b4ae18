//go:build !sabotage

package hydrant

// Sabotaged is false: this build keeps every rule.
func Sabotaged(Point) bool { return false }
