/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include <errno.h>

struct text {
  coupon_status status;
  const char *name;
  const char *sentence;
};

#define TEXT(constant, sentence) \
  { constant, #constant, sentence }

static const struct text texts[] = {
    TEXT(COUPON_OK, "done"),
    TEXT(COUPON_ISSUED, "issued"),
    TEXT(COUPON_ALREADY_ISSUED, "the user already holds a ticket"),
    TEXT(COUPON_SOLD_OUT, "sold out"),
    TEXT(COUPON_NOT_OPEN, "the campaign is not open yet"),
    TEXT(COUPON_ENDED, "the campaign has ended"),
    TEXT(COUPON_NO_CAMPAIGN, "no such campaign"),
    TEXT(COUPON_NOT_FOUND, "the user holds no ticket"),
    TEXT(COUPON_NOT_FINAL, "the deadline passed before the answer was final"),
    TEXT(COUPON_E_INVAL, "invalid argument"),
    TEXT(COUPON_E_NOMEM, "out of memory, or over the memory limit"),
    TEXT(COUPON_E_BUSY, "the log buffer is full, ask again"),
    TEXT(COUPON_E_CLOSED, "the engine is closed"),
    TEXT(COUPON_E_FORKED, "the engine belongs to the parent process"),
    TEXT(COUPON_E_FAILED, "the engine has stopped at an earlier fault, open the directory anew"),
    TEXT(COUPON_E_IO, "input or output error"),
    TEXT(COUPON_E_NO_SPACE, "no space left on the disk, or in the quota"),
    TEXT(COUPON_E_CORRUPT, "stored data is damaged or missing"),
    TEXT(COUPON_E_VERSION, "written by a newer version of libcoupon"),
    TEXT(COUPON_E_LOCKED, "another engine has the directory, or the archive, open"),
    TEXT(COUPON_E_EXISTS, "a campaign with this id and another description exists"),
    TEXT(COUPON_E_STOCK_RANGE, "the stock is larger than a campaign can have"),
    TEXT(COUPON_E_IN_CALLBACK, "a call that waits was made inside a callback"),
    TEXT(COUPON_E_READ_ONLY, "the engine was opened for reading only"),
    TEXT(COUPON_E_ACCESS, "the directory does not exist, is none, or may not be used"),
    TEXT(COUPON_E_THREAD, "the system refused a thread or a descriptor"),
    TEXT(COUPON_E_LOG_FULL, "the log has reached its largest position"),
    TEXT(COUPON_E_USER_KIND, "the campaign identifies its users in the other way, by numbers or by 16 bytes"),
    TEXT(COUPON_E_RELEASED, "the campaign's tickets are not in memory any more"),
    TEXT(COUPON_E_NOT_CLOSED, "the campaign is not closed, or not released"),
};

static const struct text *find(coupon_status status) {
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    if (texts[i].status == status) return &texts[i];
  }
  return NULL;
}

const char *cpn_status_name(coupon_status status) {
  const struct text *text = find(status);
  return text != NULL ? text->name : "COUPON_?";
}

const char *cpn_status_sentence(coupon_status status) {
  const struct text *text = find(status);
  return text != NULL ? text->sentence : "unknown status";
}

coupon_status cpn_status_from_errno(int error) {
  switch (error) {
    case 0:
      return COUPON_OK;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* RLIMIT_FSIZE, or the file system's largest file: a limit of space all the same */
      return COUPON_E_NO_SPACE;
    case ENOMEM:
      return COUPON_E_NOMEM;
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case EISDIR: /* something else has the name of a file */
    case ENXIO:
    case ENAMETOOLONG:
      return COUPON_E_ACCESS;
    case EMFILE:
    case ENFILE:
      return COUPON_E_THREAD;
    default:
      return COUPON_E_IO;
  }
}
