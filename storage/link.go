package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
)

// MaxLinks is how many links in a row are followed.
const MaxLinks = 2

// ErrLink says that a link cannot be followed, or cannot be made.
var ErrLink = errors.New("link cannot be followed")

// A Link points to another object, which is seen in its place.
type Link struct {
	Target Path

	// Account says that the link names the target's account; else that is its
	// own, wherever it is copied to.
	Account bool

	// ETag makes the link a static one: the target must have been stored with
	// this MD5, and no other is ever seen in its place. Size is what the target
	// is long then, and LargeETag its ETag if it is a static large object.
	ETag      string
	Size      int64
	LargeETag string
}

// A LinkError says what became of following a link.
type LinkError struct {
	Path Path   // where it came to, if that is to be told
	Text string // for the client's eyes; may be empty
	Err  error  // ErrLink, or what was met there
}

func (e *LinkError) Error() string {
	return "link to " + e.Path.String() + ": " + e.Err.Error()
}

func (e *LinkError) Unwrap() error { return e.Err }

// kind is what MetaKind says of a link:
//
//	link ACCOUNT TARGET ETAG SIZE LARGE-ETAG
//
// with names escaped as in a URL, and "-" for what is not set.
func (l *Link) kind() string {
	or := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	account := ""
	if l.Account {
		account = url.QueryEscape(l.Target.Account)
	}
	return strings.Join([]string{
		"link", or(account), url.QueryEscape(l.Target.Container + "/" + l.Target.Object),
		or(l.ETag), strconv.FormatInt(l.Size, 10), or(l.LargeETag),
	}, " ")
}

// parseLink reads what kind wrote.
func parseLink(in *Info) (*Link, error) {
	fields := strings.Split(kindText(in.Meta), " ")
	if len(fields) != 6 {
		return nil, errKind
	}
	for i, f := range fields {
		if f == "-" {
			fields[i] = ""
		}
	}
	l := &Link{Target: Path{Account: in.Path.Account}, ETag: fields[3], LargeETag: fields[5]}
	name, err := url.QueryUnescape(fields[2])
	if err == nil && fields[1] != "" {
		l.Account = true
		l.Target.Account, err = url.QueryUnescape(fields[1])
	}
	if err == nil {
		l.Size, err = strconv.ParseInt(fields[4], 10, 64)
	}
	if err != nil {
		return nil, errKind
	}
	l.Target.Container, l.Target.Object, _ = strings.Cut(name, "/")
	return l, nil
}

// unfollowedKey marks a context whose calls do not follow links.
type unfollowedKey struct{}

// Unfollowed returns a context with which Stat, Open and Copy take a link for
// itself, an object without bytes, whose Info has Link.
func Unfollowed(ctx context.Context) context.Context {
	return context.WithValue(ctx, unfollowedKey{}, true)
}

func unfollowed(ctx context.Context) bool { return ctx.Value(unfollowedKey{}) != nil }

// walk looks at an object and, as long as what it finds is a link, at what that
// points to. With onlyStatic, links that may come to point to something else are
// not followed, and the first of them, which is yet to be made, does not count.
func walk(in Info, err error, onlyStatic bool, look func(Path) (Info, error)) (Info, error) {
	etag, most := "", MaxLinks
	if onlyStatic {
		most++
	}
	for hops := 0; err == nil || errors.Is(err, ErrRange); hops++ {
		var l *Link
		if kindOf(&in) == link {
			var broken error
			if l, broken = parseLink(&in); broken != nil {
				return in, broken
			}
		}
		if l == nil || onlyStatic && l.ETag == "" {
			if etag != "" && in.ETag != etag {
				return in, &LinkError{in.Path, fmt.Sprintf("Object Etag '%s' does not match X-Symlink-Target-Etag header '%s'", in.ETag, etag), ErrLink}
			}
			return in, err
		}
		found := l.ETag
		if found == "" {
			found = in.ETag
		}
		switch {
		case etag != "" && found != etag:
			return in, &LinkError{in.Path, "X-Symlink-Target-Etag headers do not match", ErrLink}
		case hops == most:
			return in, &LinkError{Text: fmt.Sprintf("Too many levels of symbolic links, maximum allowed is %d", MaxLinks), Err: ErrLink}
		}
		etag = l.ETag
		in, err = look(l.Target)
		in.Linked = true
		if err != nil && !errors.Is(err, ErrRange) {
			return in, &LinkError{Path: l.Target, Err: err}
		}
	}
	return in, err
}

// PutLink makes in.Path a link. If it is a static one its target must be there
// with that ETag, which who makes it must be allowed to see, and the link has
// the target's Type unless in.Type is set. Size and LargeETag are found out.
func (s *Store) PutLink(ctx context.Context, in Info, l Link, c Cond) (Info, error) {
	l.Size, l.LargeETag = 0, ""
	if l.ETag != "" {
		made := Info{Path: in.Path, Meta: Meta{MetaKind: l.kind()}}
		target, err := walk(made, nil, true, func(p Path) (Info, error) { return s.b.Stat(ctx, p) })
		if at := (*LinkError)(nil); errors.As(err, &at) && errors.Is(err, fs.ErrNotExist) {
			err = &LinkError{at.Path, "X-Symlink-Target does not exist", ErrLink}
		}
		if err != nil {
			return Info{}, Wrap("put", in.Path, err)
		}
		l.Size = target.Size
		if kindOf(&target) == static {
			whole, err := shown(target)
			if err != nil {
				return Info{}, Wrap("put", in.Path, err)
			}
			l.Size, l.LargeETag = whole.Size, whole.ETag
		}
		if in.Type == "" {
			in.Type = target.Type
		}
	}
	in.Meta = keepKind(in.Meta, Meta{MetaKind: l.kind()})
	in.Size = 0
	up, err := s.create(ctx, in, c)
	if err != nil {
		return Info{}, err
	}
	defer up.Close()
	return up.Commit(ctx)
}
