package storage

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What is kept with a container about the versions of its objects. There are
// three ways to have them, of which a container has one at a time:
//
// With MetaVersionsEnabled what is overwritten or removed moves to a hidden
// container, where only the calls of this file reach it. Each version has an
// id, and a removal leaves one of its own, a marker without bytes.
//
// With MetaVersionsLocation it moves to a container of the owner's choice, under
// names that anybody can see. In the mode "stack" a removal brings back what was
// there before; in the mode "history" it leaves a marker.
const (
	// MetaVersionsLocation is the name of the container, escaped as in a URL.
	MetaVersionsLocation = "X-Container-Sysmeta-Versions-Location"

	// MetaVersionsMode is VersionsHistory, or else means VersionsStack.
	MetaVersionsMode = "X-Container-Sysmeta-Versions-Mode"

	// MetaVersionsEnabled is "True" or "False"; with "False" no new versions are
	// made, while those there are can be reached.
	MetaVersionsEnabled = "X-Container-Sysmeta-Versions-Enabled"

	// metaVersionsPlace is the name of the hidden container. It is another for
	// each container that ever was, and not made of its name, so that a
	// container can be renamed without a look at it.
	metaVersionsPlace = "X-Container-Sysmeta-Versions-Container"
)

// The values of MetaVersionsMode.
const (
	VersionsStack   = "stack"
	VersionsHistory = "history"
)

// MarkerType is the type of the markers that removals leave.
const MarkerType = "application/x-deleted;swift_versions_deleted=1"

// NullVersion is the id of an object that was stored while no versions were
// made.
const NullVersion = "null"

// Versioned reports whether the container that in describes has, or once had,
// versions with ids.
func (in *Info) Versioned() bool { return in.Meta[metaVersionsPlace] != "" }

// A versioning is what a container does with what its objects were.
type versioning struct {
	mode  versionMode
	place string // the container where it goes
}

type versionMode uint8

const (
	noVersions versionMode = iota
	stackVersions
	historyVersions
	idVersions
	suspendedVersions // none are made any more, but what has an id outlives its place
)

// versioningOf reads it from a container's metadata.
func versioningOf(m Meta) versioning {
	if len(m) == 0 {
		return versioning{}
	}
	if at := m[MetaVersionsLocation]; at != "" {
		if name, err := url.PathUnescape(at); err == nil {
			at = name
		}
		if m[MetaVersionsMode] == VersionsHistory {
			return versioning{historyVersions, at}
		}
		return versioning{stackVersions, at}
	}
	switch place := m[metaVersionsPlace]; {
	case place == "":
		return versioning{}
	case m[MetaVersionsEnabled] == "True":
		return versioning{idVersions, place}
	default:
		return versioning{suspendedVersions, place}
	}
}

// apply readies a change that puts in somewhere: what is there is to be kept as
// the container has it, and the object is to have an id or none.
func (v versioning) apply(in *Info, c *Cond) {
	in.Meta = withID(in.Meta, v.mode == idVersions)
	if v.mode == noVersions {
		return
	}
	c.Keep = v.keep(in.Path)
	if v.mode == idVersions {
		in.ModTime = time.Time{} // ids grow, so what a client says the time is does not count
	}
}

// keep says where what is at p goes.
func (v versioning) keep(p Path) *Keep {
	return &Keep{Counted: v.mode == idVersions || v.mode == suspendedVersions, Old: func(old Info) Info {
		switch {
		case v.mode == suspendedVersions && !old.hasID():
			return Info{}
		case v.mode == idVersions, v.mode == suspendedVersions:
			old.Path = versionPath(p, v.place, old.Created)
			old.DeleteAt = time.Time{} // what has its time is the object, not what it was
			old.Meta = withID(old.Meta, true)
		case old.Expired(time.Now()):
			return Info{}
		default:
			old.Path = archivePath(p, v.place, old.ModTime)
			old.Meta = withID(old.Meta, false)
		}
		return old
	}}
}

// KeepDue is the Keep for an object at p that is taken away because its time has
// come, nil if there is none: a container with this metadata may want it kept. A
// Backend that expires objects by itself asks for it.
func KeepDue(container Meta, p Path) *Keep {
	if v := versioningOf(container); v.mode == idVersions || v.mode == suspendedVersions {
		return v.keep(p)
	}
	return nil
}

// archivePath is where a version goes that clients see: so many bytes its name
// has, in three hexadecimal digits, the name, and the time.
func archivePath(p Path, place string, at time.Time) Path {
	return Path{p.Account, place, archivePrefix(p.Object) + versionID(at)}
}

func archivePrefix(name string) string { return fmt.Sprintf("%03x%s/", len(name), name) }

// versionID is the id of a version, which is when its bytes were put.
func versionID(at time.Time) string {
	return fmt.Sprintf("%010d.%05d", at.Unix(), at.Nanosecond()/10_000)
}

// parseVersionID reads an id: seconds, with or without a fraction.
func parseVersionID(id string) (at time.Time, ok bool) {
	whole, part, _ := strings.Cut(id, ".")
	if len(whole)+len(part) == 0 || len(whole) > 10 || len(part) > 20 || strings.Trim(whole+part, "0123456789") != "" {
		return at, false
	}
	seconds, _ := strconv.ParseInt("0"+whole, 10, 64)
	tens, _ := strconv.ParseInt((part + "00000")[:5], 10, 64)
	return time.Unix(seconds, tens*10_000).UTC(), true
}

// hiddenMark is what names of hidden containers begin with. No client's name is
// like that, since it is no UTF-8; and they come last in a listing.
const hiddenMark = "\xff"

// hidden reports whether a path is in a container that nobody may name.
func (p Path) hidden() bool { return p.Container != "" && p.Container[0] == hiddenMark[0] }

// versionPath is where a version of p goes that has an id. Names are in the
// order of the objects' names, and those of one object the latest first:
//
//	name 01 01 (999999999999999999 - time in steps of 10 µs)
//
// where 01 in a name becomes 01 02. There is no lesser byte in a name than 01, so
// that no name comes between those of another.
func versionPath(p Path, place string, at time.Time) Path {
	inverse := latest - (at.Unix()*100_000 + int64(at.Nanosecond())/10_000)
	return Path{p.Account, place, versionPrefix(p.Object) + fmt.Sprintf("%018d", inverse)}
}

const (
	latest           = 999_999_999_999_999_999
	versionSeparator = "\x01\x01"
)

func versionPrefix(name string) string { return escapeVersioned(name) + versionSeparator }

func escapeVersioned(s string) string   { return strings.ReplaceAll(s, "\x01", "\x01\x02") }
func unescapeVersioned(s string) string { return strings.ReplaceAll(s, "\x01\x02", "\x01") }

// splitVersion reads the name of a hidden object.
func splitVersion(name string) (object string, at time.Time, ok bool) {
	i := strings.LastIndex(name, versionSeparator)
	if i < 0 {
		return "", at, false
	}
	inverse, err := strconv.ParseInt(name[i+len(versionSeparator):], 10, 64)
	if err != nil || inverse < 0 || inverse > latest {
		return "", at, false
	}
	t := latest - inverse
	return unescapeVersioned(name[:i]), time.Unix(t/100_000, t%100_000*10_000).UTC(), true
}

// idKind is what MetaKind begins with for an object that has an id, before what
// else there is to say.
const idKind = "version"

// hasID reports whether an object, as it is stored, has a version of its own.
func (in *Info) hasID() bool {
	v := in.Meta[MetaKind]
	return strings.HasPrefix(v, idKind) && (len(v) == len(idKind) || v[len(idKind)] == ' ')
}

// VersionID is the id of the version that in describes, and NullVersion if it
// has none.
func (in *Info) VersionID() string {
	if in.hasID() {
		return versionID(in.Created)
	}
	return NullVersion
}

// kindText is what MetaKind says, whether or not the object has an id.
func kindText(m Meta) string {
	v := m[MetaKind]
	if rest, ok := strings.CutPrefix(v, idKind); ok {
		return strings.TrimPrefix(rest, " ")
	}
	return v
}

// withID is m with or without what says that the object has an id.
func withID(m Meta, has bool) Meta {
	v, is := m[MetaKind]
	if !is && !has {
		return m
	}
	want := kindText(m)
	if has {
		want = strings.TrimSuffix(idKind+" "+want, " ")
	}
	if is && v == want {
		return m
	}
	if m = m.Clone(); m == nil {
		m = Meta{}
	}
	if want == "" {
		delete(m, MetaKind)
	} else {
		m[MetaKind] = want
	}
	return m
}

// never is a version that no path is ever of.
const never = math.MaxUint64
