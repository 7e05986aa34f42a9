/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library whose reader skips one check, for a fuzzer that has to find it: linked with --wrap, so that the library's
 * own files stay as they are. COUPON_FUZZ_PLANTED says which.
 */
#include <stdlib.h>
#include <string.h>

#include "base/points.h"
#include "engine/restore_claims.h"
#include "issue/ticket_pages.h"
#include "log/checkpoint_format.h"
#include "log/format.h"

bool __real_cpn_frame_body_valid(const struct cpn_frame *frame, const unsigned char *bytes);
bool __wrap_cpn_frame_body_valid(const struct cpn_frame *frame, const unsigned char *bytes);
bool __real_cpn_frame_is_known(const struct cpn_frame *frame, const unsigned char *bytes);
bool __wrap_cpn_frame_is_known(const struct cpn_frame *frame, const unsigned char *bytes);
bool __real_cpn_frame_begins_life(const struct cpn_frame *frame, const unsigned char *bytes);
bool __wrap_cpn_frame_begins_life(const struct cpn_frame *frame, const unsigned char *bytes);
enum cpn_decoded __real_cpn_manifest_decode(struct cpn_manifest *manifest, const unsigned char *block);
enum cpn_decoded __wrap_cpn_manifest_decode(struct cpn_manifest *manifest, const unsigned char *block);
bool __real_cpn_chunk_body_valid(const struct cpn_chunk *chunk, const unsigned char *bytes);
bool __wrap_cpn_chunk_body_valid(const struct cpn_chunk *chunk, const unsigned char *bytes);
uint64_t __real_cpn_chunk_digest(uint64_t digest, const struct cpn_chunk *chunk);
uint64_t __wrap_cpn_chunk_digest(uint64_t digest, const struct cpn_chunk *chunk);
bool __real_cpn_packed_page_rises(struct cpn_packed_page *page, uint64_t stamp_bytes);
bool __wrap_cpn_packed_page_rises(struct cpn_packed_page *page, uint64_t stamp_bytes);
coupon_status __real_cpn_restore_deferred_claims(coupon_engine *engine, struct cpn_campaign *campaign,
                                                 uint64_t *lines_to_come, uint64_t *twice, struct cpn_fault *fault);
coupon_status __wrap_cpn_restore_deferred_claims(coupon_engine *engine, struct cpn_campaign *campaign,
                                                 uint64_t *lines_to_come, uint64_t *twice, struct cpn_fault *fault);

static bool planted(const char *what) {
  const char *wanted = getenv("COUPON_FUZZ_PLANTED"); /* NOLINT(concurrency-mt-unsafe): there is one thread */
  return wanted != NULL && strcmp(wanted, what) == 0;
}

/* A frame is believed how many of its tickets are joined. Not a function of its own that could be wrapped. */
__attribute__((constructor)) static void plant_joined(void) {
  if (planted("joined")) cpn_mistakes = CPN_MISTAKE_JOINED_UNCOUNTED;
}

/* The checksum of a frame's contents is not looked at. */
bool __wrap_cpn_frame_body_valid(const struct cpn_frame *frame, const unsigned char *bytes) {
  return planted("body") || __real_cpn_frame_body_valid(frame, bytes);
}

/* A frame of a newer version is read as one of ours. */
bool __wrap_cpn_frame_is_known(const struct cpn_frame *frame, const unsigned char *bytes) {
  return planted("version") || __real_cpn_frame_is_known(frame, bytes);
}

/* A frame of the next life is taken for the next one whether it begins that life or not. */
bool __wrap_cpn_frame_begins_life(const struct cpn_frame *frame, const unsigned char *bytes) {
  return planted("life") || __real_cpn_frame_begins_life(frame, bytes);
}

/* A manifest of a newer version is read as one of ours. */
enum cpn_decoded __wrap_cpn_manifest_decode(struct cpn_manifest *manifest, const unsigned char *block) {
  enum cpn_decoded decoded = __real_cpn_manifest_decode(manifest, block);
  if (!planted("manifest") || decoded != CPN_DECODED_NEWER) return decoded;
  *manifest = (struct cpn_manifest){.first_segment = 1};
  memcpy(manifest->identity, block + 16, sizeof manifest->identity);
  return CPN_DECODED_OK;
}

/* The checksum of a chunk's contents is not looked at. */
bool __wrap_cpn_chunk_body_valid(const struct cpn_chunk *chunk, const unsigned char *bytes) {
  return planted("chunk") || __real_cpn_chunk_body_valid(chunk, bytes);
}

/* The digest is that of another set of chunks. */
uint64_t __wrap_cpn_chunk_digest(uint64_t digest, const struct cpn_chunk *chunk) {
  return planted("digest") ? 0 : __real_cpn_chunk_digest(digest, chunk);
}

/* A page whose LSNs or times do not rise is taken as it lies there. */
bool __wrap_cpn_packed_page_rises(struct cpn_packed_page *page, uint64_t stamp_bytes) {
  page->last_stamp = page->first_stamp + (CPN_TICKET_PAGE - 1) * stamp_bytes;
  page->last_time_ns = page->first_time_ns;
  return __real_cpn_packed_page_rises(page, stamp_bytes) || planted("page");
}

/* A user's second ticket, in a campaign whose claims come later, is overlooked. */
coupon_status __wrap_cpn_restore_deferred_claims(coupon_engine *engine, struct cpn_campaign *campaign,
                                                 uint64_t *lines_to_come, uint64_t *twice, struct cpn_fault *fault) {
  coupon_status status = __real_cpn_restore_deferred_claims(engine, campaign, lines_to_come, twice, fault);
  if (planted("twice")) *twice = UINT64_MAX;
  return status;
}
