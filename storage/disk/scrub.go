package disk

import "context"

func (b *Backend) scrubLoop(ctx context.Context) { <-ctx.Done() }
