import { modelMetadata, parseCard, type ModelCard } from "../../runtime/models/model.js";
import {
  readMetadata,
  readSafetensors,
  writeSafetensors,
} from "../../runtime/tensors/safetensors.js";
import { blobOf } from "../aggregation/blob-of.js";
import type { Blob } from "../storage/ledger.js";

type Metadata = Readonly<Record<string, string>>;

/** The metadata of a model's blob, with this in the card too; what else stands there stays. */
export const cardWith = (metadata: Metadata, more: Partial<ModelCard>): Metadata => ({
  ...metadata,
  ...modelMetadata({ ...parseCard(JSON.parse(metadata["model"])), ...more }),
});

/** The same weights with this in the card too: the same bytes after each restart. */
export const modelWith = (model: Blob, more: Partial<ModelCard>): Blob =>
  blobOf(
    writeSafetensors(
      [...readSafetensors(model.bytes).tensors.values()],
      cardWith(readMetadata(model.bytes), more),
    ),
  );
