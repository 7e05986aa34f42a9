/* SPDX-License-Identifier: Apache-2.0 */
/* What the blocks that begin files have in common (log/format.c, log/checkpoint_format.c): magic, version, block size,
 * identity, and a checksum at the end. */
#ifndef CPN_LOG_FORMAT_BLOCK_H
#define CPN_LOG_FORMAT_BLOCK_H

#include "log/format.h"

bool cpn_all_zero(const unsigned char *bytes, size_t size);

void cpn_block_begin(unsigned char *block, const unsigned char magic[8], const unsigned char *identity);
void cpn_block_end(unsigned char *block);

/* `end`: from where on this version has zeros. */
enum cpn_decoded cpn_block_check(const unsigned char *block, const unsigned char magic[8], size_t end);

/* The same for a block that says of which directory and which number it is, behind the identity. NOT: of another. */
enum cpn_decoded cpn_block_check_of(const unsigned char *block, const unsigned char magic[8], size_t end,
                                    const unsigned char *identity, uint64_t number);

#endif
