/**
 * Names for what the REST API gives and takes, of types made from its description (schema.d.ts).
 */

import type { components, operations } from './schema';

type Schemas = components['schemas'];

export type Runner = Schemas['SeenRunner'];
export type Mount = Schemas['Mount'];
export type MountState = Schemas['MountState'];
export type RunnerStatus = Schemas['RunnerStatus'];
export type KernelState = Schemas['KernelState'];
export type RunnerEvent = Schemas['RunnerEvent'];
export type RunnerList = Schemas['RunnerList'];
export type MadeRunner = Schemas['MadeRunner'];
export type Profile = Schemas['Profile'];
export type ProfileSettings = Schemas['ProfileSettings'];
export type LogLine = Schemas['LogLine'];
export type Ready = Schemas['Ready'];
export type BucketRequest = Schemas['S3'];
export type StartKernelRequest = Schemas['StartKernel'];
export type StartedKernel = Schemas['StartedKernel'];
export type ErrorDocument = Schemas['Error'];

type Body<T> = T extends {
  requestBody: { content: { 'application/json': infer B } };
}
  ? B
  : never;
type Query<T> = T extends { parameters: { query?: infer Q } }
  ? NonNullable<Q>
  : never;

export type CreateRequest = Body<operations['createRunner']>;
export type ListQuery = Query<operations['listRunners']>;
export type LogQuery = Query<operations['readLog']>;
